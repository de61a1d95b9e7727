"""Whatever fails and whenever, `plan` brings every job to a true end: a job's life, with anything going wrong in it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from ci_common.jobs import Conclusion, ReasonCode, State
from ci_common.spec import Retry
from tests.helpers.world import TICK, World, conclusions

MOST_STEPS = 300
"""More than any job takes to rest, with all its attempts, once nothing goes wrong any more."""
MOST_STOPPED = 2
"""Controllers that stand still at a time."""


@dataclass
class Life:
    """One job, from its submission until it rests, and what was seen of it on the way."""

    world: World
    exits: dict[int, int] = field(default_factory=dict)
    """What the scripts wrote by themselves. Their files go once the attempt has ended, so it is noted as it comes."""
    cancelled_in_time: bool = False
    """Somebody asked for the end before the job was to run."""

    def script(self) -> None:
        self.world.progress()
        for attempt, run in self.world.runs.items():
            if run.exit is not None and not run.exit.terminated:
                self.exits[attempt] = run.exit.code

    def cancel(self) -> None:
        row = self.world.row
        if row.cancel_requested_time is None and row.state in (State.QUEUED, State.STARTING):
            self.cancelled_in_time = row.attempt == 1
        self.world.cancel()

    def stop(self, effects: int) -> None:
        if len(self.world.late) < MOST_STOPPED:
            self.world.turn(fails_at=effects, goes_on_later=True)

    def go_on(self) -> None:
        if self.world.late:
            self.world.do_late()

    def come_to_rest(self) -> None:
        while self.world.late:
            self.go_on()
        for _ in range(MOST_STEPS):
            if self.world.turn():
                return
            self.script()
            self.world.now += TICK
        raise AssertionError(f"the job does not come to rest: {self.world}")


Event = Callable[[Life], object]


def event(name: str, does: Event) -> Event:
    """Return an event that says its name where a failing example is shown."""
    does.__qualname__ = does.__name__ = name
    return does


EVENTS: list[Event] = [
    *[event("the controller takes a step", lambda life: life.world.turn())] * 6,
    *[event("the script goes on", lambda life: life.script())] * 3,
    *[
        event(f"the controller dies after {n} effects", lambda life, n=n: life.world.turn(fails_at=n))
        for n in (0, 1, 2)
    ],
    *[event(f"the controller is stopped after {n} effects", lambda life, n=n: life.stop(n)) for n in (0, 1, 2)],
    *[event("a stopped controller goes on", lambda life: life.go_on())] * 2,
    event("somebody cancels", lambda life: life.cancel()),
    event("the container ends", lambda life: life.world.lose_workload(life.world.row.attempt, removed=False)),
    event("the container goes", lambda life: life.world.lose_workload(life.world.row.attempt, removed=True)),
    event("time passes", lambda life: life.world.wait(30 * TICK)),
]


@settings(max_examples=400, deadline=None)
@given(
    code=st.sampled_from([None, 0, 3]),
    attempts=st.integers(1, 3),
    waiting=st.integers(0, 2),
    events=st.lists(st.sampled_from(EVENTS), min_size=12, max_size=40),
)
def test_every_life_ends_well(code: int | None, attempts: int, waiting: int, events: list[Event]) -> None:
    life = Life(World(code, Retry(max_attempts=attempts), waiting=waiting))
    for happens in events:
        happens(life)
    life.come_to_rest()
    world = life.world
    assert all(times == 1 for times in world.code_starts.values()), "the code of an attempt ran twice"
    assert all(run.workload is None and not run.files and run.claimed is None for run in world.runs.values()), (
        "something is left"
    )
    assert world.row.attempt <= attempts
    for attempt, conclusion in conclusions(world.row).items():
        check_attempt(life, attempt, conclusion)
    if life.cancelled_in_time:
        assert not world.code_starts, "the job began although it was cancelled"
        assert world.row.conclusion in (Conclusion.CANCELLED, Conclusion.ERRORED)


def check_attempt(life: Life, attempt: int, conclusion: Conclusion | None) -> None:
    """Check that an attempt ended as its script says, or else as what happened to it."""
    job = life.world.row.as_of(attempt)
    if attempt in life.exits:
        assert job.exit_code == life.exits[attempt], "the result is not what the script wrote"
        assert conclusion is (Conclusion.FAILED if job.exit_code else Conclusion.SUCCEEDED)
    else:
        assert conclusion not in (None, Conclusion.SUCCEEDED, Conclusion.FAILED), "a result out of nowhere"
    if conclusion is Conclusion.CANCELLED:
        assert job.cancel_requested_time is not None
    if conclusion is Conclusion.ERRORED:
        assert job.reason is not None
        assert job.reason.code in (ReasonCode.CONTAINER_LOST, ReasonCode.START_FAILED)
