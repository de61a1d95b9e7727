"""Which connections are ended when."""

import pytest

from ci_server.connections import tracker as module
from ci_server.connections.tracker import ConnectionTracker


class Waiting:
    """A connection that waits for something."""

    def __init__(self, tracker: ConnectionTracker, connections: set["Waiting"]) -> None:
        self.ended = ""
        self._connections = connections
        connections.add(self)
        self.admitted = tracker.admit(self)

    def on_timeout(self) -> None:
        self._end("late")

    def evict(self) -> None:
        self._end("gave way")

    def _end(self, how: str) -> None:
        assert self.ended == ""
        self.ended = how
        self._connections.discard(self)


class Case:
    def __init__(self, most: int) -> None:
        self.connections: set[Waiting] = set()
        self.tracker = ConnectionTracker(most, self.connections)

    def connect(self) -> Waiting:
        return Waiting(self.tracker, self.connections)

    def pass_time(self, ticks: int) -> None:
        for _ in range(ticks):
            self.tracker._tick()


@pytest.fixture
async def case(monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.setattr(module, "HEAD_SECONDS", 3)
    monkeypatch.setattr(module, "IDLE_SECONDS", 5)
    return Case(3)


async def test_each_has_its_time(case: Case) -> None:
    late, heard, answered = case.connect(), case.connect(), case.connect()
    case.tracker.expect_nothing(answered)
    case.pass_time(2)
    case.tracker.expect_request(heard)
    case.pass_time(1)
    assert (late.ended, heard.ended) == ("late", "")
    case.pass_time(3)
    assert heard.ended == ""
    case.tracker.on_data(heard)
    case.pass_time(2)
    assert heard.ended == ""
    case.pass_time(1)
    assert heard.ended == "late"
    case.pass_time(100)
    assert answered.ended == ""


async def test_hearing_more_of_the_same_request_buys_no_time(case: Case) -> None:
    caller = case.connect()
    for _ in range(3):
        case.tracker.on_data(caller)
        case.pass_time(1)
    assert caller.ended == "late"


async def test_the_order_is_that_of_waiting(case: Case) -> None:
    """A connection that was first and is waited for once more comes after one that has waited since."""
    first, second = case.connect(), case.connect()
    case.pass_time(2)
    case.tracker.expect_head(first)
    case.pass_time(1)
    assert (first.ended, second.ended) == ("", "late")


async def test_idle_ones_give_way_first_and_answered_ones_never(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    answered, head, idle = case.connect(), case.connect(), case.connect()
    case.tracker.expect_nothing(answered)
    case.tracker.expect_request(idle)
    case.connect()
    assert (head.ended, idle.ended) == ("", "gave way")
    newest = case.connect()
    assert head.ended == "gave way"
    for caller in list(case.connections):
        case.tracker.expect_nothing(caller)
    refused = case.connect()
    assert (newest.admitted, refused.admitted) == (True, False)
    assert answered.ended == ""
    assert len(caplog.records) == 1, "once a minute"
