"""What is removed of prepared environments: rows beyond the limit, what no row names, and what was never finished."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest

from ci_common.runtime_faults import RuntimeUnavailable
from ci_controller.gc.environments import EnvironmentDirectories, ExpiredEnvironments, OldDownloads, OrphanEnvironments
from ci_controller.gc.runner import GarbageCollector
from ci_controller.runtime.protocol import LocalRuntime
from tests.contracts.environment_suite import ONE
from tests.helpers.installation import leading
from tests.unit.controller.environments.conftest import Bench
from tests.unit.controller.gc.rounds import one_round

GIB = 1024**3
ENVIRONMENTS = [
    replace(ONE, key=str(n), reference=f"sha256:{n}", size=GIB, last_used_time=ONE.last_used_time + timedelta(hours=n))
    for n in range(3)
]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with leading(tmp_path) as (storage, lease):
        bench = Bench(tmp_path, storage, lease)
        for environment in ENVIRONMENTS:
            await storage.environments.put(environment, lease)
            bench.maker.there.add(environment.reference)
        yield bench


async def expire(bench: Bench, limit: int) -> set[str]:
    """Return the keys that are left with this limit."""
    settings = bench.settings.model_copy(update={"prepared_bytes": limit})
    makers = {"docker": cast(LocalRuntime, bench.maker)}
    await one_round(ExpiredEnvironments(settings, makers, bench.storage.environments, bench.lease))
    return {environment.key for environment in await bench.storage.environments.list(limit=10)}


def orphans(bench: Bench) -> OrphanEnvironments:
    makers = {"docker": cast(LocalRuntime, bench.maker)}
    return OrphanEnvironments(makers, bench.storage.environments, {"docker": bench.environments})


@pytest.mark.parametrize(("limit", "left"), [(3 * GIB, {"0", "1", "2"}), (3 * GIB - 1, {"1", "2"}), (0, set())])
async def test_those_that_were_not_used_for_longest_go_first(bench: Bench, limit: int, left: set[str]) -> None:
    assert await expire(bench, limit) == left


async def test_a_row_goes_with_what_it_names(bench: Bench) -> None:
    bench.maker.there.remove("sha256:1")
    assert await expire(bench, 10 * GIB) == {"0", "2"}


async def test_what_no_row_names_goes(bench: Bench) -> None:
    await bench.storage.environments.remove(["0"])
    await one_round(orphans(bench))
    assert bench.maker.there == {"sha256:1", "sha256:2"}


class Unreachable:
    """A runtime that does not answer."""

    async def list_environments(self) -> set[str]:
        raise RuntimeUnavailable("no engine")


async def test_a_runtime_that_does_not_answer_holds_up_no_other(bench: Bench) -> None:
    await bench.storage.environments.remove(["0"])
    collector = orphans(bench)
    makers = {"gone": cast(LocalRuntime, Unreachable()), **collector.makers}
    await one_round(OrphanEnvironments(makers, collector.store, collector.environments))
    assert bench.maker.there == {"sha256:1", "sha256:2"}


async def test_what_has_no_row_yet_stays_for_a_while(bench: Bench) -> None:
    await bench.storage.environments.remove(["0"])
    collector, runner = orphans(bench), GarbageCollector([], lambda: bench.up)
    await runner.collect(collector)
    assert "sha256:0" in bench.maker.there
    bench.pass_time(collector.grace_seconds)
    await runner.collect(collector)
    assert "sha256:0" not in bench.maker.there


async def test_directories_that_are_in_use_stay(bench: Bench) -> None:
    job = await bench.started(bench.plan())
    (bench.data.environments / "left" / "workspace").mkdir(parents=True)
    collector = EnvironmentDirectories(bench.data, cast(LocalRuntime, bench.maker), {"docker": bench.environments})
    round_before = asyncio.create_task(one_round(collector))
    done, _ = await asyncio.wait({round_before}, timeout=0.05)
    assert not done, "an earlier controller may have left any of them to this one"
    assert len(bench.directories()) == 2
    await bench.environments.builds._resume()
    await round_before
    assert len(bench.directories()) == 1
    await bench.run(job)
    await bench.turn()
    assert bench.directories() == []


def downloads(bench: Bench, name: str, days: float) -> Path:
    """Make what a project has downloaded, used so many days ago."""
    path = bench.data.downloads / name
    path.mkdir(parents=True)
    (path / "wheel").write_bytes(bytes(100_000))
    os.utime(path, (time.time() - days * 86_400, time.time() - days * 86_400))
    return path


def old_downloads(bench: Bench, limit: int) -> OldDownloads:
    settings = bench.settings.model_copy(update={"prepared_bytes": limit})
    able = cast(LocalRuntime, bench.maker)
    return OldDownloads(settings, bench.data, able, {"docker": bench.environments})


@pytest.mark.parametrize(("limit", "left"), [(GIB, ["new", "used"]), (600_000, ["new"]), (0, [])])
async def test_downloads_go_where_they_are_too_many_or_too_old(bench: Bench, limit: int, left: list[str]) -> None:
    for name, days in (("new", 0.0), ("used", 29.0), ("unused", 31.0)):
        downloads(bench, name, days)
    await bench.environments.builds._resume()
    await one_round(old_downloads(bench, limit))
    assert sorted(path.name for path in bench.data.downloads.iterdir()) == left


async def test_no_downloads_go_while_a_setup_may_use_them(bench: Bench) -> None:
    unused = downloads(bench, "unused", 31)
    await bench.started(bench.plan())
    await bench.environments.builds._resume()
    await one_round(old_downloads(bench, GIB))
    assert unused.exists()
