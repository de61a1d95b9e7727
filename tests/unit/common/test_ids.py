"""Job ids."""

import time
import uuid

import pytest

from ci_common.jobs import is_job_id, new_job_id


def test_is_a_uuid_of_version_7() -> None:
    made = uuid.UUID(new_job_id())
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert is_job_id(str(made))


def test_holds_the_time_in_milliseconds() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid.UUID(new_job_id()).int >> 80
    assert before <= made <= time.time_ns() // 1_000_000


@pytest.mark.parametrize("nanoseconds", [0, 1, 999_999, 1_000_000, 123_456_789])
def test_a_later_id_sorts_behind_even_within_a_millisecond(monkeypatch: pytest.MonkeyPatch, nanoseconds: int) -> None:
    start = 1_700_000_000_000_000_000 + nanoseconds
    ids = []
    for step in range(50):
        monkeypatch.setattr(time, "time_ns", lambda now=start + step * 1_000: now)
        ids.append(new_job_id())
    assert ids == sorted(ids)
    assert len(set(ids)) == 50


def test_ids_of_the_same_instant_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)
    assert len({new_job_id() for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "../../etc/passwd",
        "01A20440-DBA3-7E21-9361-9A7D5987FFE2",
        "{01a20440-dba3-7e21-9361-9a7d5987ffe2}",
        "01a20440dba37e2193619a7d5987ffe2",
        "urn:uuid:01a20440-dba3-7e21-9361-9a7d5987ffe2",
        "01a20440-dba3-7e21-9361-9a7d5987ffe2\n",
    ],
)
def test_only_the_canonical_form_is_an_id(text: str) -> None:
    assert not is_job_id(text)
