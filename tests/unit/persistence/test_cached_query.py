"""What did not change is not read again; what did change is never missed."""

from pathlib import Path

import pytest

from ci_common.jobs import State
from ci_common.system import watch
from ci_persistence.open import sqlite_storage
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease
from tests.helpers.jobs import NOON, PLENTY, bring, new_job
from tests.helpers.waiting import eventually


async def test_an_unchanged_job_is_the_same_object_and_a_changed_one_is_read(storage: Storage, lease: Lease) -> None:
    for _ in range(4):
        await storage.jobs.add(new_job(), max_queued=PLENTY)
    before = await storage.queue.queued()
    updated = await storage.jobs.update(before[1], lease, error="x")
    cancelled = await storage.jobs.request_cancel(before[2].id, NOON)
    started = await bring(storage, lease, before[3], State.STARTING)
    after = await storage.queue.queued()
    assert after == [before[0], updated, cancelled]
    assert after[0] is before[0]
    assert await storage.queue.active() == [started]
    running = await bring(storage, lease, after[0], State.RUNNING)
    assert await storage.queue.queued() == [updated, cancelled]
    assert {job.id for job in await storage.queue.active()} == {started.id, running.id}


async def test_changes_are_seen_without_inotify(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(watch.sys, "platform", "sunos5")
    ours, theirs = (sqlite_storage(tmp_path / "jobs.db") for _ in range(2))
    await ours.open()
    await theirs.open()
    changes = ours.jobs.changes()
    for number in range(1, 4):
        await theirs.jobs.add(new_job(), max_queued=PLENTY)

        async def all_seen(number: int = number) -> bool:
            await anext(changes)
            return len(await ours.queue.queued()) == number

        await eventually(all_seen)
    await changes.aclose()
    await ours.close()
    await theirs.close()
