"""The harness of the fuzzers: it finds what it looks for, and makes inputs again and smaller."""

import asyncio
import io
import json
import time
import zipfile
from pathlib import Path

import pytest

from ci_common.spec import Spec
from tests.fuzz.checks import faults_of
from tests.fuzz.choices import Choices
from tests.fuzz.client import Answer
from tests.fuzz.kinds import GENERATORS, specs
from tests.fuzz.kinds.zip_writer import Ending, Member, archive_of
from tests.fuzz.message import Message, read, written
from tests.fuzz.shrinking import shrunk
from tests.fuzz.watch import Watch

PROBLEM = b'{"code": "invalid_request", "detail": "no"}'
INSIDES = PROBLEM.replace(b"no", b"command.function-after[_check_text(), str]")
TRACEBACK = (
    "2026 ERROR ci_server.http.application: error 1 at POST /jobs\nTraceback (most recent call last):\n"
    '  File "/x/ci_server/http/requests.py", line 7, in read\n'
    '  File "/lib/json.py", line 1, in loads\nValueError: no\n'
)


@pytest.mark.parametrize("kind", GENERATORS)
def test_an_input_can_be_made_again(kind: str) -> None:
    for number in range(20):
        choices = Choices.of(kind, 3, number)
        message = GENERATORS[kind](choices)
        assert GENERATORS[kind](Choices.of(kind, 3, number)) == message
        assert GENERATORS[kind](Choices(choices.made)) == message


@pytest.mark.parametrize("kind", GENERATORS)
def test_an_input_survives_its_file(kind: str, tmp_path: Path) -> None:
    message = GENERATORS[kind](Choices.of(kind, 5, 1))
    assert read(written(tmp_path / "x.json", kind, message, seed=5)) == (kind, message)


def test_shrinking_finds_the_smallest_choices_that_fail() -> None:
    def fails(made: list[int]) -> list[int] | None:
        return made if any(value >= 7 for value in made) and len(made) >= 2 else None

    assert shrunk([5, 99, 3, 40, 2], fails, seconds=10) == [0, 7]


def test_fields_of_a_spec_are_all_generated() -> None:
    assert set(specs.FIELDS) == set(Spec.model_fields)
    for name, values in specs.FIELDS.items():
        for value in values:
            Spec.model_validate({name: json.loads(value)})


def test_an_honest_archive_is_one() -> None:
    data = archive_of([Member(b"a/b", b"x"), Member(b"c", b"y" * 99, method=8)], Ending())
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {"a/b": b"x", "c": b"y" * 99}


async def test_the_watch_tells_of_computing_and_not_of_waiting() -> None:
    told: list[tuple[float, str]] = []

    def compute() -> None:
        begun = time.thread_time()
        while time.thread_time() - begun < 0.02:
            pass

    loop = asyncio.get_running_loop()
    with Watch(lambda *one: told.append(one)).installed():
        loop.call_soon(time.sleep, 0.02)
        loop.call_soon(compute)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert [(seconds >= 0.02, "compute" in what) for seconds, what in told] == [(True, True)]


@pytest.mark.parametrize(
    ("answer", "log", "name"),
    [
        (Answer(hung=True), "", "no answer"),
        (Answer(500), TRACEBACK, "status 500: ValueError at ci_server/http/requests.py:7"),
        (Answer(503), "", "status 503"),
        (Answer(200), TRACEBACK, "traceback in the log: ValueError at ci_server/http/requests.py:7"),
        (Answer(400, body=PROBLEM + b" " * 20_000), "", "a refusal that is too long"),
        (Answer(400, body=PROBLEM.replace(b"no", b"/place/x")), "", "a refusal that tells a path of the server's"),
        (Answer(400, body=INSIDES), "", "a refusal that tells of the program's insides"),
        (Answer(400, body=b"no"), "", "a refusal that is not a problem document"),
        (Answer(400, body=PROBLEM), "", None),
        (Answer(202), "", None),
        (Answer(), "", None),
    ],
)  # fmt: skip
def test_answers_are_judged(answer: Answer, log: str, name: str | None) -> None:
    found = [fault.name for fault in faults_of(Message(), answer, log, "/place")]
    assert found == ([] if name is None else [name])
