"""Whom a request is from, by what trusted proxies say."""

from typing import Any

import pytest

from ci_common.parsing.peers import parse_origins, parse_peers
from ci_server.http.forwarding import FORWARDED, Forwarding


def applied(peer: str | None, trusted: str = "10.0.0.0/8", **headers: str) -> Any:
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    client = None if peer is None else (peer, 1234)
    scope = {"type": "http", "scheme": "http", "client": client, "headers": [(b"host", b"inside"), *named]}
    Forwarding(parse_peers(trusted)).apply(scope)
    host = dict(scope["headers"])[b"host"].decode()
    return scope["client"] and scope["client"][0], scope["scheme"], host, FORWARDED in scope


SAID = {"x_forwarded_for": "192.0.2.7", "x_forwarded_proto": "https", "x_forwarded_host": "ci.example.org"}


class TestForwarded:
    @pytest.mark.parametrize("peer", ["192.0.2.1", "11.0.0.1", "::1", None])
    def test_others_are_not_believed(self, peer: str | None) -> None:
        assert applied(peer, **SAID) == (peer, "http", "inside", False)
        assert applied(peer, forwarded="for=192.0.2.7;proto=https") == (peer, "http", "inside", False)

    @pytest.mark.parametrize(
        ("peer", "trusted"),
        [("10.1.2.3", "10.0.0.0/8"), ("::ffff:10.1.2.3", "10.1.2.3"), ("::1", "::1"), (None, "unix")],
    )
    def test_trusted_peers_are(self, peer: str | None, trusted: str) -> None:
        assert applied(peer, trusted, **SAID) == ("192.0.2.7", "https", "ci.example.org", True)
        standard = 'for="192.0.2.7:99";proto=https;host=ci.example.org'
        assert applied(peer, trusted, forwarded=standard) == ("192.0.2.7", "https", "ci.example.org", True)

    def test_the_last_that_is_no_proxy_counts(self) -> None:
        listed = "127.0.0.1, 192.0.2.7, 10.9.9.9"
        assert applied("10.0.0.1", x_forwarded_for=listed)[0] == "192.0.2.7"
        standard = 'for=127.0.0.1;host=evil, for="[2001:db8::1]:80";host=ci.example.org, for=10.9.9.9;host=hop'
        assert applied("10.0.0.1", forwarded=standard) == ("2001:db8::1", "http", "ci.example.org", True)

    def test_kinds_that_differ(self) -> None:
        """A proxy that sets one kind passes on what a client has sent in the other."""
        for claimed in ("for=127.0.0.1", "for=unknown", "??"):
            assert applied("10.0.0.1", forwarded=claimed, **SAID) == (None, "http", "inside", True)
        alike = "for=192.0.2.7;host=other"
        assert applied("10.0.0.1", forwarded=alike, **SAID) == ("192.0.2.7", "https", "ci.example.org", True)

    def test_all_are_proxies(self) -> None:
        assert applied("10.0.0.1", x_forwarded_for="10.0.0.5, 10.0.0.6")[0] == "10.0.0.5"

    @pytest.mark.parametrize("text", ["for=unknown", "for=_hidden", 'for="', "nonsense", ";;", "for=10.0.0.1.5"])
    def test_an_address_that_is_not_told(self, text: str) -> None:
        """It must not pass for the proxy's own, which may be this machine's."""
        assert applied("10.0.0.1", forwarded=text)[::3] == (None, True)

    @pytest.mark.parametrize("scheme", ["ftp", "javascript", ""])
    def test_other_schemes_are_left_out(self, scheme: str) -> None:
        assert applied("10.0.0.1", x_forwarded_for="192.0.2.7", x_forwarded_proto=scheme)[1] == "http"

    def test_a_proxy_that_says_nothing(self) -> None:
        assert applied("10.0.0.1") == ("10.0.0.1", "http", "inside", False)


@pytest.mark.parametrize("text", ["10.0.0.1/8", "proxy", "*", "10.0.0.0/40"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="neither an address nor a network"):
        parse_peers(text)


def test_origins() -> None:
    origins = parse_origins("https://UI.example.org/, http://localhost:3000, https://a.example:443")
    assert origins.listed == {"https://ui.example.org", "http://localhost:3000", "https://a.example"}


@pytest.mark.parametrize(
    "text",
    ["*", "https://*.example.org", "ui.example.org", "https://a/b", "https://u@a", "null", "file:///x", "https://"],
)
def test_what_is_no_origin(text: str) -> None:
    with pytest.raises(ValueError, match="is not an origin"):
        parse_origins(text)
