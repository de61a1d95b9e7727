"""Ten crash stories. Read these first: they show what the service promises, on both runtimes and both databases.

`kill` is SIGKILL. The crash matrix beside this file tries the same at every single effect of a controller.
"""

import asyncio

from tests.helpers.databases import ON_BOTH
from tests.helpers.service import until, waits_for
from tests.helpers.waiting import eventually
from tests.scenarios.stories import QUIET, WAIT, Story

pytestmark = ON_BOTH


async def test_1_a_job_goes_on_while_the_server_is_dead(story: Story) -> None:
    await story.begin()
    job = await story.submit_and_see("up", WAIT)
    story.server.kill()
    story.let_end(job)
    story.server.start()
    await story.ends(job, "succeeded", "up\ndown\n")


async def test_2_a_reader_follows_over_a_kill_and_misses_nothing(story: Story) -> None:
    await story.begin()
    job = await story.submit_and_see("up", WAIT)
    read = asyncio.create_task(story.read(job))
    await eventually(lambda: "up\n" in story.received, "the reader has the first line")
    story.server.kill()
    story.server.start()
    story.let_end(job)
    assert await read == "up\ndown\n"


async def test_3_a_queued_job_is_still_queued_after_a_kill(story: Story) -> None:
    await story.begin(MAX_CONCURRENCY="1")
    first = await story.submit_and_see("up", WAIT)
    second = await story.submit("echo second")
    await until(story.client, second, waits_for("waiting_for_slot"))
    story.server.kill()
    story.server.start()
    story.let_end(first)
    await story.ends(first, "succeeded", "up\ndown\n")
    await story.ends(second, "succeeded", "second\n")


async def test_4_a_job_that_failed_while_the_server_was_dead_has_its_own_exit_code(story: Story) -> None:
    await story.begin()
    job = await story.submit_and_see("up", f"{WAIT}; exit 7")
    story.server.kill()
    story.let_end(job)
    await story.wrote(job, "down\n")
    story.server.start()
    assert (await story.ends(job, "failed", "up\ndown\n"))["exit_code"] == 7


async def test_5_a_cancel_survives_a_kill(story: Story) -> None:
    await story.begin()
    job = await story.submit_and_see("up", "trap '' TERM; echo up; while :; do sleep 0.1; done", stop_grace=1)
    await story.client.cancel_job(job)
    story.server.kill()
    story.server.start()
    await story.ends(job, "cancelled", "up\n")


async def test_6_a_timeout_passes_while_the_server_is_dead(story: Story) -> None:
    await story.begin()
    job = await story.submit_and_see("up", WAIT, timeout=2)
    story.server.kill()
    await story.pass_deadline(job, 2)
    story.server.start()
    await story.ends(job, "timed_out", "up\n")


async def test_7_an_attempt_is_repeated_once_though_the_server_is_killed_between_the_two(story: Story) -> None:
    await story.begin()
    job = await story.submit("echo try; exit 1", retry={"max_attempts": 2, "on": ["failed"], "backoff": "1s"})
    await until(story.client, job, waits_for("backing_off"))
    story.server.kill()
    story.server.start()
    await story.ends(job, "failed", "try\n", attempts=2)


async def test_8_a_second_controller_takes_over_from_a_dead_one(story: Story) -> None:
    await story.begin(CI_CONTROLLER="off")
    first = story.controller()
    job = await story.submit_and_see("up", WAIT)
    story.controller()
    first.kill()
    story.let_end(job)
    await story.ends(job, "succeeded", "up\ndown\n")


async def test_9_the_api_dies_and_the_controller_goes_on(story: Story) -> None:
    await story.begin(CI_CONTROLLER="off")
    story.controller()
    job = await story.submit("echo alone")
    story.server.kill()
    await story.wrote(job, "alone\n")
    story.server.start()
    await story.ends(job, "succeeded", "alone\n")


async def test_10_nothing_is_left_behind_after_all_of_it(story: Story) -> None:
    await story.begin()
    job = await story.submit_and_see("up", f"{QUIET}; sleep 600 & echo up; wait")
    story.server.kill()
    story.server.start()
    await story.client.cancel_job(job)
    await story.ends(job, "cancelled", "up\n")
    await eventually(story.nothing_runs, "no process and no container of the job is left")
