"""Tickets: each container that waits is given away once, however many ask for it."""

from pathlib import Path

from ci_common.jobs import new_job_id
from ci_common.run_directory import tickets
from ci_common.run_directory.tickets import Ticket

WORKLOAD, JOB, OTHER = new_job_id(), new_job_id(), new_job_id()


def test_what_waits_is_given_away_once(tmp_path: Path) -> None:
    tickets.offer(tmp_path, WORKLOAD)
    assert tickets.read(tmp_path) == [Ticket(WORKLOAD, None)]
    assert tickets.claim(tmp_path, WORKLOAD, JOB, 2)
    assert tickets.read(tmp_path) == [Ticket(WORKLOAD, (JOB, 2))]
    assert not tickets.claim(tmp_path, WORKLOAD, OTHER, 1)
    assert not tickets.withdraw(tmp_path, WORKLOAD), "what an attempt has is not removed as what waits"
    tickets.drop(tmp_path, WORKLOAD, OTHER, 1)
    assert tickets.read(tmp_path) == [Ticket(WORKLOAD, (JOB, 2))]
    for _ in range(2):
        tickets.drop(tmp_path, WORKLOAD, JOB, 2)
    assert tickets.read(tmp_path) == []


def test_what_is_to_be_removed_is_given_to_none(tmp_path: Path) -> None:
    tickets.offer(tmp_path, WORKLOAD)
    assert tickets.withdraw(tmp_path, WORKLOAD)
    assert not tickets.withdraw(tmp_path, WORKLOAD)
    assert not tickets.claim(tmp_path, WORKLOAD, JOB, 1)


def test_an_attempt_holds_what_has_been_moved_to_its_place(tmp_path: Path) -> None:
    tickets.offer(tmp_path, WORKLOAD)
    assert tickets.claim(tmp_path, WORKLOAD, JOB, 1)
    (tmp_path / WORKLOAD).mkdir()
    assert tickets.holders(tmp_path) == {}, "it was claimed, and is not used yet"
    (tmp_path / WORKLOAD).rmdir()
    assert tickets.holders(tmp_path) == {WORKLOAD: (JOB, 1)}


def test_other_files_are_no_tickets(tmp_path: Path) -> None:
    for name in (WORKLOAD, f"{WORKLOAD}.", f"{WORKLOAD}.x", f"{WORKLOAD}.{JOB}", f"{WORKLOAD}.{JOB}.x", "x.waiting"):
        (tmp_path / name).touch()
    assert tickets.read(tmp_path) == []
    assert tickets.read(tmp_path / "gone") == []
