"""What killed server processes had of quotas is free again, as soon as another one asks."""

from contextlib import ExitStack

import pytest

from tests.helpers.service import Service


@pytest.fixture
def environment(as_a_person: dict[str, str]) -> dict[str, str]:
    return as_a_person | {"CI_POOL_SIZE": "0", "PORT": "0", "CI_QUOTA_STREAMS": "2"}


def test_streams_of_a_killed_server_do_not_count(environment: dict[str, str]) -> None:
    """Two servers on one database; the one that is not killed keeps what it has."""
    first, second = Service(environment).start(), Service(environment | {"CI_CONTROLLER": "off"}).start()
    path = "/events?project=web"
    try:
        with ExitStack() as stack:
            killed, other = stack.enter_context(first.client()), stack.enter_context(second.client())
            for client in (killed, other):
                assert stack.enter_context(client.stream("GET", path)).status_code == 200
            assert [client.get(path).status_code for client in (killed, other)] == [429, 429]
            first.kill()
            assert stack.enter_context(other.stream("GET", path)).status_code == 200
            refused = other.get(path)
            assert (refused.status_code, refused.json()["used"]) == (429, 2)
    finally:
        first.close()
        second.close()
