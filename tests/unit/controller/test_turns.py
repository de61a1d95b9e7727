"""In which order jobs get slots, as a pure matter of who has had turns."""

from collections.abc import Iterable, Sequence
from typing import Any

from ci_common.jobs import Job
from ci_controller.turns import MOST_SHARES, Turns, share_of
from tests.helpers.jobs import NOON


def jobs_of(project: str | None, count: int, **more: Any) -> list[Job]:
    """Return jobs of a project, named after it and numbered in the order of their submission."""
    name = project or more.get("owner", "local")
    return [Job(id=f"{name}{n}", type="echo", submit_time=NOON, project=project, **more) for n in range(count)]


def started(turns: Turns, queued: Sequence[Job], active: Iterable[Job] = (), slots: int = 1) -> list[str]:
    """Return the ids of the jobs that start in so many slots."""
    ids: list[str] = []
    for job in turns.order(queued, active):
        if len(ids) == slots:
            break
        turns.took(job)
        ids.append(job.id)
    return ids


def test_projects_take_turns() -> None:
    many, one = jobs_of("a", 1000), jobs_of("b", 1)
    assert started(Turns(), many + one, slots=4) == ["a0", "b0", "a1", "a2"]


def test_one_slot_goes_round() -> None:
    """No job runs when the slot is given away, so it is the last turn that counts."""
    turns, queued = Turns(), jobs_of("a", 3) + jobs_of("b", 3) + jobs_of("c", 3)
    order: list[str] = []
    while queued:
        order += started(turns, queued)
        queued = [job for job in queued if job.id not in order]
    assert order == [f"{project}{n}" for n in range(3) for project in "abc"]


def test_who_holds_the_fewest_slots_comes_first() -> None:
    queued = jobs_of("a", 9) + jobs_of("b", 9)
    assert started(Turns(), queued, active=jobs_of("a", 2), slots=4) == ["b0", "b1", "a0", "b2"]


def test_priorities_come_before_turns() -> None:
    urgent = jobs_of("a", 3, priority=1)
    assert started(Turns(), urgent + jobs_of("b", 1), slots=4) == ["a0", "a1", "a2", "b0"]


def test_jobs_without_a_project_take_turns_by_their_owners() -> None:
    queued = jobs_of(None, 9, owner="alice") + jobs_of(None, 9, owner="bob") + jobs_of("carol", 9)
    assert started(Turns(), queued, slots=4) == ["alice0", "bob0", "carol0", "alice1"]


def test_the_owners_of_one_project_share_its_turns() -> None:
    ours = [*jobs_of("a", 5, owner="alice"), *jobs_of("a", 5, owner="bob")]
    assert started(Turns(), ours + jobs_of("b", 5), slots=4) == ["a0", "b0", "a1", "b1"]


def test_a_job_that_cannot_start_costs_no_turn() -> None:
    turns, ids = Turns(), []
    for job in turns.order(jobs_of("a", 3) + jobs_of("b", 2), []):
        if job.id != "a0":  # It waits for its image, say.
            turns.took(job)
        ids.append(job.id)
    assert ids == ["a0", "a1", "b0", "a2", "b1"]


def test_turns_of_earlier_terms_count() -> None:
    turns = Turns()
    turns.remember([share_of("b", "local"), share_of("a", "local")])
    assert started(turns, jobs_of("a", 2) + jobs_of("b", 2) + jobs_of("c", 2), slots=3) == ["c0", "b0", "a0"]


def test_what_is_remembered_is_bounded() -> None:
    turns = Turns()
    turns.remember(share_of(str(number), "") for number in range(MOST_SHARES + 1))
    assert started(turns, jobs_of("1", 1) + jobs_of("0", 1)) == ["00"], "who is forgotten comes first"
