"""What every `Storage` promises about the audit."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from ci_common.errors import LeadershipLost, QueueFull
from ci_common.sharing.audit import BEGINNING, Broken, Entry, Mark, Outcome, digest_of, recorded_on_wire
from ci_common.system.processes import this_process
from ci_common.times import to_micros
from ci_persistence.audited import Noted
from ci_persistence.database import Session
from ci_persistence.dialects import Statement
from ci_persistence.storage import Storage
from ci_persistence.stores.audit import AuditFilter
from ci_persistence.stores.leases import Lease
from tests.contracts.storage_place import Base, Place, said, tell
from tests.helpers.jobs import NOON, PLENTY, new_job

ENTRY = Entry(
    time=to_micros(NOON),
    action="set_secret",
    actor="alice",
    key_id="0123456789abcdef",
    address="192.0.2.1",
    request="PUT /secrets/TOKEN",
    target="/secrets/TOKEN",
    project="website",
    outcome=Outcome.DONE,
)
REFUSED = replace(ENTRY, key_id=None, project=None, outcome=Outcome.REFUSED, reason="key_missing", count=70)


async def change(storage: Storage, text: str) -> None:
    """Change the rows behind the audit's back."""

    async def run(session: Session) -> None:
        await session.execute(Statement(text))

    await storage.database.write(run)


async def add(storage: Storage, number: int) -> None:
    await storage.audit.add([replace(ENTRY, target=f"/jobs/{each}") for each in range(number)])


class Chained(Base):
    async def test_keeps_entries_in_a_chain(self, storage: Storage) -> None:
        odd = replace(ENTRY, actor='ünïcödé, "quoted" \\x1b', target="/jobs/1")
        assert (await storage.audit.ends()).last == BEGINNING
        await storage.audit.add([ENTRY, odd])
        await storage.audit.add([REFUSED])
        found = await storage.audit.list(AuditFilter(), limit=10)
        assert [each.entry for each in found] == [REFUSED, odd, ENTRY]
        assert [each.number for each in found] == [3, 2, 1]
        assert [each.previous for each in found] == [found[1].digest, found[2].digest, BEGINNING.digest]
        assert all(each.digest == digest_of(recorded_on_wire(each)) for each in found)
        verified = await storage.audit.verify()
        assert (verified.broken, verified.entries, verified.last) == (None, 3, found[0].mark)

    async def test_pages_and_filters(self, storage: Storage) -> None:
        later = replace(ENTRY, time=ENTRY.time + 1_000_000, target="/projects/web/members/bob", action="set_member")
        beside = replace(later, target="/projects/website", actor="bob", project=None, action="change_project")
        await storage.audit.add([ENTRY, later, beside, REFUSED])

        async def numbers(
            limit: int = 10, before: int | None = None, after: int | None = None, **where: object
        ) -> list[int]:
            found = await storage.audit.list(AuditFilter(**where), limit=limit, before=before, after=after)  # type: ignore[arg-type]
            return [each.number for each in found]

        assert await numbers(2) == [4, 3]
        assert await numbers(2, before=3) == [2, 1]
        assert await numbers(2, after=0) == [1, 2]
        assert await numbers(2, after=3) == [4]
        assert await numbers(actor="bob") == [3]
        assert await numbers(action="set_secret") == [4, 1]
        assert await numbers(outcome=Outcome.REFUSED) == [4]
        assert await numbers(project="website") == [2, 1]
        assert await numbers(target="/projects/web") == await numbers(target="/projects/web/") == [2]
        assert await numbers(target="/projects/website") == [3]
        assert await numbers(since=NOON + timedelta(seconds=1)) == [3, 2]
        assert await numbers(before=5, actor="alice", outcome=Outcome.DONE) == [2, 1]
        where = AuditFilter(before=NOON + timedelta(seconds=1))
        assert [each.number for each in await storage.audit.list(where, limit=9)] == [4, 1]

    async def test_an_entry_is_written_with_the_change_or_not_at_all(self, storage: Storage) -> None:
        note = Noted(ENTRY)
        job = await storage.audited(note).jobs.add(new_job(), max_queued=1)
        assert note.is_written
        refused = Noted(ENTRY)
        with pytest.raises(QueueFull):
            await storage.audited(refused).jobs.add(new_job(), max_queued=1)
        unchanged = Noted(ENTRY)
        assert await storage.audited(unchanged).retention.delete([job.id]) == [], "it has not completed"
        assert not refused.is_written
        assert not unchanged.is_written
        assert [each.entry for each in await storage.audit.list(AuditFilter(), limit=10)] == [ENTRY]

    async def test_one_request_has_one_entry(self, storage: Storage) -> None:
        audited = storage.audited(Noted(ENTRY))
        for _ in range(3):
            await audited.jobs.add(new_job(), max_queued=PLENTY)
        assert (await storage.audit.ends()).last.number == 1

    async def test_many_at_once_make_one_chain(self, storage: Storage) -> None:
        """Those that share a transaction, and some of which are refused in it."""
        wanted = [storage.audited(Noted(ENTRY)).jobs.add(new_job(), max_queued=30) for _ in range(40)]
        outcomes = await asyncio.gather(*wanted, return_exceptions=True)
        assert sum(isinstance(outcome, QueueFull) for outcome in outcomes) == 10
        verified = await storage.audit.verify()
        assert (verified.broken, verified.entries) == (None, 30)

    async def test_several_processes_make_one_chain(self, place: Place, storage: Storage) -> None:
        """With changes that lock the same rows in another order, which must not deadlock."""
        body = """
            from ci_persistence.audited import Noted
            from tests.contracts.audit_suite import ENTRY
            async def work(first):
                job = await storage.audited(Noted(ENTRY)).jobs.add(new_job(), max_queued=PLENTY)
                await storage.audited(Noted(ENTRY)).jobs.request_cancel(job.id, job.submit_time)
            say("ready")
            heard()
            for _ in range(8):
                await asyncio.gather(*(work(number) for number in range(8)))
            say("done")
        """
        async with place.process(body) as one, place.process(body) as two:
            for process in (one, two):
                assert await said(process) == "ready"
            for process in (one, two):
                await tell(process)
            await add(storage, 20)
            for process in (one, two):
                assert await said(process) == "done"
        verified = await storage.audit.verify()
        assert (verified.broken, verified.entries) == (None, 20 + 2 * 2 * 64)

    async def test_a_process_that_is_killed_leaves_no_change_without_its_entry(self, place: Place) -> None:
        body = """
            from ci_persistence.audited import Noted
            from tests.contracts.audit_suite import ENTRY
            async def add_for_ever():
                while True:
                    say((await storage.audited(Noted(ENTRY)).jobs.add(new_job(), max_queued=PLENTY)).id)
            await asyncio.gather(*(add_for_ever() for _ in range(16)))
        """
        async with place.process(body) as process:
            said_first = [await said(process) for _ in range(50)]
            process.kill()
            await process.wait()
        storage = place.storage()
        await storage.open()
        try:
            jobs = {job.id for job in await storage.queue.queued()}
            assert jobs >= set(said_first)
            verified = await storage.audit.verify()
            assert (verified.broken, verified.entries) == (None, len(jobs))
        finally:
            await storage.close()


class Tampered(Base):
    """Each change of the rows is found, and the first entry that does not fit is named."""

    @pytest.fixture
    async def storage(self, place: Place) -> AsyncIterator[Storage]:
        storage = place.storage()
        await storage.open()
        await add(storage, 9)
        yield storage
        await storage.close()

    @pytest.mark.parametrize(
        ("text", "number"),
        [
            ("UPDATE audit SET actor = 'mallory' WHERE number = 4", 4),
            ("UPDATE audit SET time = time + 1 WHERE number = 9", 9),
            ("UPDATE audit SET key_id = NULL WHERE number = 4", 4),
            ("UPDATE audit SET count = 2 WHERE number = 1", 1),
            ("DELETE FROM audit WHERE number = 4", 5),
            ("DELETE FROM audit WHERE number = 1", 2),
            ("DELETE FROM audit WHERE number = 9", 9),
            ("DELETE FROM audit", 1),
            ("UPDATE audit SET number = number + 100 WHERE number = 4", 5),
            ("UPDATE audit_ends SET number = 8 WHERE name = 'last'", 8),
            ("UPDATE audit_ends SET number = 3 WHERE name = 'removed'", 4),
            (
                "INSERT INTO audit SELECT 10, time, action, actor, key_id, address, request, target, project, outcome, "
                "reason, count, digest, digest FROM audit WHERE number = 9",
                10,
            ),
        ],
    )
    async def test_a_change_is_found(self, storage: Storage, text: str, number: int) -> None:
        assert (await storage.audit.verify()).broken is None
        await change(storage, text)
        broken = (await storage.audit.verify()).broken
        assert broken is not None
        assert broken.number == number

    async def test_entries_that_have_changed_places_are_found(self, storage: Storage) -> None:
        for before, after in ((4, 100), (5, 4), (100, 5)):
            await change(storage, f"UPDATE audit SET number = {after} WHERE number = {before}")
        broken = (await storage.audit.verify()).broken
        assert broken is not None
        assert broken.number == 4

    async def test_an_altered_entry_with_a_digest_of_its_own_is_found_at_the_next_one(self, storage: Storage) -> None:
        (found,) = await storage.audit.list(AuditFilter(), limit=1, after=3)
        forged = digest_of(recorded_on_wire(replace(found, entry=replace(found.entry, actor="mallory"))))
        await change(storage, f"UPDATE audit SET actor = 'mallory', digest = '{forged}' WHERE number = 4")
        assert (await storage.audit.verify()).broken == Broken(5, "it does not follow the entry 4 that is there")

    async def test_a_chain_that_was_made_again_does_not_have_what_was_noted(self, storage: Storage) -> None:
        noted = (await storage.audit.ends()).last
        await change(storage, "DELETE FROM audit")
        await change(storage, f"UPDATE audit_ends SET number = 0, digest = '{BEGINNING.digest}'")
        await storage.audit.add([replace(ENTRY, actor="mallory")] * 9)
        assert (await storage.audit.verify()).broken is None
        assert (await storage.audit.verify(noted)).broken == Broken(9, "its digest is not the one that was noted")
        ahead = Mark(12, noted.digest)
        assert (await storage.audit.verify(ahead)).broken == Broken(10, "it cannot be found, and entry 12 was noted")


class Retention(Base):
    async def test_the_chain_holds_after_old_entries_are_removed(self, storage: Storage, lease: Lease) -> None:
        times = [to_micros(NOON + timedelta(days=day)) for day in (0, 1, 3, 2, 5)]
        await storage.audit.add([replace(ENTRY, time=time) for time in times])
        first, second, *_ = await storage.audit.list(AuditFilter(), limit=9, after=0)
        limit = NOON + timedelta(days=2, hours=12)
        assert await storage.audit.remove(limit, lease, limit=1) == 1
        assert (await storage.audit.ends()).removed == first.mark
        assert await storage.audit.remove(limit, lease, limit=9) == 1, "what is behind a later one stays"
        assert await storage.audit.remove(limit, lease, limit=9) == 0
        verified = await storage.audit.verify(first.mark)
        assert (verified.broken, verified.entries, verified.removed) == (None, 3, second.mark)
        await change(storage, "DELETE FROM audit WHERE number = 3")
        broken = (await storage.audit.verify()).broken
        assert broken is not None, "what was not removed by its age is missing"

    async def test_all_may_be_old(self, storage: Storage, lease: Lease) -> None:
        await add(storage, 3)
        last = (await storage.audit.ends()).last
        assert await storage.audit.remove(NOON + timedelta(days=1), lease, limit=9) == 3
        assert (await storage.audit.ends()).removed == last
        await add(storage, 1)
        verified = await storage.audit.verify()
        assert (verified.broken, verified.entries, verified.last.number) == (None, 1, 4)

    async def test_only_the_leader_removes(self, storage: Storage, lease: Lease) -> None:
        await add(storage, 3)
        await storage.leases.release(lease)
        assert await storage.leases.acquire(this_process(), 60) is not None
        with pytest.raises(LeadershipLost):
            await storage.audit.remove(NOON + timedelta(days=1), lease, limit=9)
        assert len(await storage.audit.list(AuditFilter(), limit=9)) == 3


class AuditSuite(Chained, Retention):
    pass
