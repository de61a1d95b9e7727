"""Services beside jobs, as the pages show those of a real engine."""

import pytest

from ci_client.aio import CiClient
from tests.helpers.service import Service, until
from tests.ui.conftest import OpenPage

pytestmark = pytest.mark.docker


@pytest.fixture
def settings(settings: dict[str, str]) -> dict[str, str]:
    return {**settings, "CI_RUNTIME": "docker"}


async def test_a_running_service_is_shown_beside_its_job(
    service: Service, open_page: OpenPage, busybox_image: str
) -> None:
    services = {"cache": {"image": busybox_image, "command": "echo ready; sleep 600"}}
    job = {"image": busybox_image, "command": "echo running; sleep 600", "services": services}
    async with CiClient(service.url) as client, open_page() as watched:
        job_id = await client.create_job(job)
        await until(client, job_id, lambda event: event["type"] == "log")
        await watched.page.goto("/ui/queue")
        running = watched.page.get_by_role("region", name="Running", exact=True)
        await running.get_by_text(f"beside it cache: {busybox_image}").wait_for()
        assert job_id[-8:] in await running.inner_text()
        await client.cancel_job(job_id)
        await watched.page.get_by_text("No job runs.").wait_for()
