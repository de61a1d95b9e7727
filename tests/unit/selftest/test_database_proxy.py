"""The URL of a database through a proxy before its server."""

import pytest

from ci_common.configuration.database_address import DatabaseUrl
from ci_selftest.faults.database_proxy import Proxy, proxy_of, through


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "postgresql://u:p%40x@db.example.org:6543/ci",
            "postgresql://u:p%40x@db.example.org:99/ci?hostaddr=127.0.0.1",
        ),
        ("postgresql://db.example.org/ci", "postgresql://db.example.org:99/ci?hostaddr=127.0.0.1"),
        ("postgresql://u@[::1]:6543/ci", "postgresql://u@[::1]:99/ci?hostaddr=127.0.0.1"),
        ("postgresql://u@[::1]/ci", "postgresql://u@[::1]:99/ci?hostaddr=127.0.0.1"),
        (
            "postgresql://h/ci?sslmode=verify-full&options=-csearch_path%3Da",
            "postgresql://h:99/ci?sslmode=verify-full&options=-csearch_path%3Da&hostaddr=127.0.0.1",
        ),
    ],
)
def test_the_same_database_through_a_proxy(url: str, expected: str) -> None:
    """With the name of the server, for which its certificate is checked."""
    proxy = Proxy(5432)
    proxy.port = 99
    assert through(DatabaseUrl.parse(url), proxy).text == expected


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///ci",
        "postgresql://a,b/ci",
        "postgresql://a:1,b:2/ci",
        "postgresql:///ci?host=a",
        "postgresql://a/?port=1",
    ],
)
def test_servers_before_which_no_proxy_can_be(url: str) -> None:
    assert proxy_of(DatabaseUrl.parse(url)) is None
