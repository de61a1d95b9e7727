"""Jobs whose texts no script can hold, stored before that was refused, end and keep nothing from the others."""

import pytest

from ci_common.jobs import Conclusion, ReasonCode
from tests.helpers.installation import Installation, completed


@pytest.mark.parametrize("text", ["echo \ud800", "echo a\0b"], ids=["surrogate", "nul"])
async def test_such_a_job_ends(installation: Installation, text: str) -> None:
    unwritable = [await installation.submit(text) for _ in range(installation.settings.max_concurrency + 1)]
    other = await installation.submit("echo fine")
    async with installation.storage() as storage, installation.controller():
        for job in unwritable:
            ended = await completed(storage, job.id)
            assert (ended.conclusion, ended.reason and ended.reason.code) == (
                Conclusion.ERRORED,
                ReasonCode.START_FAILED,
            )
            assert ended.reason is not None
            assert "one of its texts is not valid" in ended.reason.message
        assert (await completed(storage, other.id)).conclusion is Conclusion.SUCCEEDED
