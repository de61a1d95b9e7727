"""A log and its steps as events."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ci_common.attempts.parts import StepResult, StepStatus
from ci_server.streaming.framing import LogFramer, frame, step_events

NOW = datetime(2025, 1, 1, tzinfo=UTC)


def step(name: str, offset: int, code: int | None = 0) -> StepResult:
    status = StepStatus.RUNNING if code is None else StepStatus.FAILED if code else StepStatus.SUCCEEDED
    return StepResult(name, status, NOW, offset, code, None if code is None else NOW)


def parsed(frames: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(f.partition(b"data: ")[2]) | ({"id": f[4 : f.index(b"\n")].decode()} if f[:2] == b"id" else {})
            for f in frames]  # fmt: skip


def shown(events: list[dict[str, Any]]) -> list[str]:
    """Return log events as their text and step events as `name:status`."""
    return [event["data"] if event["type"] == "log" else f"{event['name']}:{event['status']}" for event in events]


def test_a_frame_is_one_line_whatever_it_holds() -> None:
    event = {"type": "log", "data": "a\r\nb\u2028c\x85d\0\x1be"}
    raw = frame(event, "12")
    assert raw.startswith(b"id: 12\ndata: {")
    assert raw.endswith(b"}\n\n")
    assert raw.decode().splitlines()[1:] == [raw.decode().split("\n")[1], ""]
    assert json.loads(raw.partition(b"data: ")[2]) == event


def test_steps_stand_where_their_output_begins() -> None:
    framer = LogFramer(0)
    framer.take_steps(step_events((step("one", 0), step("two", 4), step("three", 4, None))))
    events = parsed(list(framer.frames(b"one\ntwo\n", NOW, final=False)))
    assert shown(events) == [
        "one:running", "one\n", "one:succeeded", "two:running", "two:succeeded", "three:running", "two\n",
    ]  # fmt: skip
    assert [event["id"] for event in events if event["type"] == "log"] == ["4", "8"]


def test_the_last_step_ends_at_the_end() -> None:
    framer = LogFramer(0)
    framer.take_steps(step_events((step("one", 0, 3),)))
    assert shown(parsed(list(framer.frames(b"x", NOW, final=True)))) == ["one:running", "x"]
    assert shown(parsed(list(framer.remaining_steps()))) == ["one:failed"]
    assert list(framer.remaining_steps()) == []


def test_who_comes_later_is_not_told_what_has_passed() -> None:
    framer = LogFramer(6)
    framer.take_steps(step_events((step("one", 0), step("two", 4), step("three", 8, None))))
    assert shown(parsed(list(framer.frames(b"..end", NOW, final=True)))) == [
        "..", "two:succeeded", "three:running", "end",
    ]  # fmt: skip


def test_a_step_may_begin_within_a_character() -> None:
    framer = LogFramer(0)
    framer.take_steps(step_events((step("one", 1, None),)))
    assert shown(parsed(list(framer.frames("ä!".encode(), NOW, final=False)))) == ["one:running", "ä!"]


def test_nonsense_about_offsets_loses_nothing() -> None:
    framer = LogFramer(0)
    framer.take_steps(step_events((step("one", 10**15), step("two", 3, None))))
    assert shown(parsed(list(framer.frames(b"log", NOW, final=True)))) == ["log"]
    assert len(list(framer.remaining_steps())) == 3


def test_an_open_character_waits_for_its_end() -> None:
    framer = LogFramer(0)
    euro = "€".encode()
    assert list(framer.frames(b"a" + euro[:2], NOW, final=False)) != []
    assert framer.position == 1
    assert list(framer.frames(euro[:2], NOW, final=False)) == []
    assert shown(parsed(list(framer.frames(euro, NOW, final=False)))) == ["€"]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from([b"text\n", b"\0", b"\xff\xe4", "ä€😀".encode(), b"\xe2\x82", b"\xef\xbf\xbd"]), max_size=12
    ),
    st.lists(st.integers(0, 60), max_size=4),
    st.lists(st.integers(1, 9), min_size=1, max_size=40),
)
def test_the_pieces_are_the_log(parts: list[bytes], offsets: list[int], sizes: list[int]) -> None:
    log = b"".join(parts)
    framer = LogFramer(0)
    framer.take_steps(step_events(tuple(step(str(n), offset) for n, offset in enumerate(sorted(offsets)))))
    end, events = 0, []
    for size in [*sizes, len(log)]:
        end = min(len(log), end + size)
        events += parsed(list(framer.frames(log[framer.position : end], NOW, final=end == len(log))))
    logs = [event for event in events if event["type"] == "log"]
    exact = b"".join(base64.b64decode(e["base64"]) if "base64" in e else e["data"].encode() for e in logs)
    assert exact == log
    if offsets == []:
        assert "".join(event["data"] for event in logs) == log.decode(errors="replace")


def test_steps_are_told_once_where_the_run_directory_goes_before_the_row_is_read_again() -> None:
    framer = LogFramer(0)
    events = step_events((step("one", 0, 0),))
    told = []
    for seen in (events, [], events):
        framer.take_steps(seen)
        told += [*framer.frames(b"", NOW, final=False), *framer.remaining_steps()]
    assert len(told) == 2


def test_a_step_that_was_left_out_has_one_event_with_its_reason() -> None:
    skipped = StepResult("b", StepStatus.SKIPPED, NOW, 4, end_time=NOW, reason="a step before it failed")
    events = parsed([event.framed() for event in step_events((step("a", 0, 3), skipped, step("c", 4)))])
    assert [f"{event['name']}:{event['status']}" for event in events] == [
        "a:running", "a:failed", "b:skipped", "c:running", "c:succeeded",
    ]  # fmt: skip
    assert [event.get("reason") for event in events] == [None, None, "a step before it failed", None, None]
