"""Pulls: one per image, outside of slots, ended when no job waits for them any more."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest

from ci_common.jobs import ReasonCode
from ci_common.runtime_faults import ImageNotFound, ImagePullFailed
from ci_controller import images as images_module
from ci_controller.images import Images
from ci_controller.runtime.protocol import Runtime
from tests.helpers.fake_runtimes import ScriptedImages


class Setup:
    def __init__(self) -> None:
        self.runtime = ScriptedImages("here")
        self.changed = asyncio.Event()
        self.images = Images(cast(Runtime, self.runtime), self.changed.set)

    async def change(self) -> None:
        async with asyncio.timeout(5):
            await self.changed.wait()
        self.changed.clear()


@pytest.fixture
async def setup(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Setup]:
    monkeypatch.setattr(images_module, "RETRY_SECONDS", (0.0, 0.0))
    made = Setup()
    yield made
    await made.images.close()


async def test_an_image_that_is_here_is_ready(setup: Setup) -> None:
    assert await setup.images.is_ready("here")
    assert not setup.runtime.pulls


async def test_many_jobs_share_one_pull(setup: Setup) -> None:
    assert not any([await setup.images.is_ready("far") for _ in range(5)])
    await setup.runtime.pulling("far")
    setup.runtime.say("far", "1.0 of 2.0 MB")
    await setup.change()
    reason = setup.images.reason("far")
    assert (reason.code, reason.message) == (ReasonCode.PULLING_IMAGE, "pulling far: 1.0 of 2.0 MB")
    setup.runtime.finish("far")
    await setup.change()
    assert await setup.images.is_ready("far")
    assert setup.runtime.pulls["far"] == 1


async def test_what_is_not_to_be_had_is_said_to_everybody_who_waits(setup: Setup) -> None:
    await setup.images.is_ready("wrong")
    await setup.runtime.pulling("wrong")
    setup.runtime.finish("wrong", ImageNotFound("no such image"))
    await setup.change()
    for _ in range(2):
        with pytest.raises(ImageNotFound, match="no such image"):
            await setup.images.is_ready("wrong")
    setup.images.forget_all_but(())
    assert not await setup.images.is_ready("wrong"), "a later job tries again"


async def test_a_passing_failure_is_tried_three_times(setup: Setup) -> None:
    await setup.images.is_ready("flaky")
    for attempt in range(3):
        await setup.runtime.pulling("flaky")
        setup.runtime.finish("flaky", ImagePullFailed("connection reset"))
        await setup.change()
        if attempt < 2:
            assert setup.images.reason("flaky").code is ReasonCode.BACKING_OFF
    await asyncio.sleep(0)
    with pytest.raises(ImagePullFailed):
        await setup.images.is_ready("flaky")
    assert setup.runtime.pulls["flaky"] == 3


async def test_a_pull_nobody_waits_for_ends(setup: Setup) -> None:
    await setup.images.is_ready("far")
    await setup.images.is_ready("near")
    await setup.runtime.pulling("far")
    await setup.runtime.pulling("near")
    setup.images.forget_all_but(["near"])
    await setup.change()
    assert setup.runtime.ended == {"far": 1}
