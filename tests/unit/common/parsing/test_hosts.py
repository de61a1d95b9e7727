"""Names of hosts, in requests and in the setting."""

import pytest
from starlette.types import Scope

from ci_common.errors import SettingsError
from ci_common.parsing.hosts import host_of, parse_host_names
from ci_common.settings import Settings
from ci_server.http import application
from ci_server.http.application import HostCheck
from ci_server.http.refusals import InvalidHttp, MisdirectedRequest


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        ("localhost", "localhost"),
        ("LocalHost.:8000", "localhost"),
        ("ci_server-1.example.org:", "ci_server-1.example.org"),
        ("127.0.0.1:8000", "127.0.0.1"),
        ("[::1]:8000", "::1"),
        ("[0:0::0001]", "::1"),
        ("[::ffff:127.0.0.1]", "127.0.0.1"),
        *[(text, None) for text in ("", ":80", "a b", "a/b", "a@b", "a,b", "[", "[::1", "::1", "[a]", "[127.0.0.1]")],
        *[(text, None) for text in ("a..b", ".a", ".", "a:80:90", "a:x", "a:123456", "a:-1", "\xe9", "a\n", "-a")],
        *[("localhost:65535", "localhost"), ("localhost:65536", None), ("[::1]:99999", None)],
        ("a" * 64, None),
        (".".join(["a"] * 127), ".".join(["a"] * 127)),
        (".".join(["a"] * 128), None),
    ],
)
def test_the_host_in_an_authority(authority: str, host: str | None) -> None:
    assert host_of(authority) == host


@pytest.mark.parametrize(
    ("text", "taken", "refused"),
    [
        ("", [], ["a", "localhost"]),
        ("ci.example.org", ["ci.example.org"], ["example.org", "x.ci.example.org"]),
        (" A.example , b.example.,,", ["a.example", "b.example"], ["c.example"]),
        ("*.example.org", ["a.example.org", "a.b.example.org"], ["example.org", "aexample.org", "example.org.evil"]),
        ("*", ["a", "192.0.2.7", "evil.example"], []),
        ("192.0.2.7,[2001:DB8::7],2001:db8::8", ["192.0.2.7", "2001:db8::7", "2001:db8::8"], ["192.0.2.8"]),
    ],
)
def test_names_that_are_listed(text: str, taken: list[str], refused: list[str]) -> None:
    names = parse_host_names(text)
    assert [name for name in [*taken, *refused] if name in names] == taken


@pytest.mark.parametrize("text", ["http://a", "a:8000", "a/b", "*.", "a.*", "**", "*a", "a b", "m\xfcller.example"])
def test_entries_that_are_no_names(text: str) -> None:
    with pytest.raises(SettingsError, match=r"CI_ALLOWED_HOSTS.*is not a host name; write a name"):
        Settings.from_env({"CI_ALLOWED_HOSTS": f"ok.example,{text}"})


def scope_of(*given: str, version: str = "1.1", server: tuple[str, int | None] = ("127.0.0.1", 8000)) -> Scope:
    headers = [(b"host", host.encode("latin-1")) for host in given]
    return {"type": "http", "http_version": version, "headers": headers, "server": server}


@pytest.mark.parametrize(
    "host",
    ["localhost:1", "ci.localhost", "127.0.0.1", "127.9.9.9:80", "[::1]:8000", "here.example:8000", "LISTED.example"],
)
def test_hosts_that_are_taken(host: str) -> None:
    check = HostCheck.of(Settings(host="here.example", allowed_hosts="listed.example"))
    assert check.refusal(scope_of(host)) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "xlocalhost",
        "192.0.2.7",
        "0.0.0.0",
        "[::2]",
        "127.1",
    ],
)
def test_hosts_that_are_refused(host: str) -> None:
    refusal = HostCheck.of(Settings(allowed_hosts="listed.example")).refusal(scope_of(host))
    assert isinstance(refusal, MisdirectedRequest)
    assert (host_of(host) or "") in str(refusal)
    assert "CI_ALLOWED_HOSTS, which is listed.example" in str(refusal)


def test_the_address_of_the_connection_is_taken() -> None:
    check = HostCheck.of(Settings())
    assert check.refusal(scope_of("192.0.2.7:80", server=("192.0.2.7", 8000))) is None
    assert check.refusal(scope_of("192.0.2.7", server=("::ffff:192.0.2.7", 8000))) is None
    assert check.refusal(scope_of("[fe80::1]", server=("fe80::1%eth0", 8000))) is None
    assert check.refusal(scope_of("192.0.2.8", server=("192.0.2.7", 8000))) is not None


@pytest.mark.parametrize("bound", ["0.0.0.0", "::"])
def test_a_server_at_every_address_takes_those_of_this_machine(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check = HostCheck.of(Settings(host=bound))
    assert check.refusal(scope_of("192.0.2.7")) is not None, "an address for documentation, which no machine has"
    assert check.refusal(scope_of("evil.example")) is not None
    monkeypatch.setattr(application, "_is_own_address", lambda host: host == "192.0.2.7")
    assert check.refusal(scope_of("192.0.2.7")) is None
    assert HostCheck.of(Settings()).refusal(scope_of("192.0.2.7")) is not None


def test_own_addresses() -> None:
    assert application._is_own_address("127.0.0.1")
    assert not application._is_own_address("192.0.2.7")
    assert not application._is_own_address("localhost")


def test_a_unix_socket_takes_every_name() -> None:
    check = HostCheck.of(Settings())
    assert check.refusal(scope_of("evil.example", server=("/run/api.sock", None))) is None
    assert isinstance(check.refusal(scope_of("[", server=("/run/api.sock", None))), InvalidHttp)


@pytest.mark.parametrize(
    "given", [(), ("localhost", "localhost"), ("",), ("[",)], ids=["none", "two", "empty", "no host"]
)
def test_there_has_to_be_one_host(given: tuple[str, ...]) -> None:
    assert isinstance(HostCheck.of(Settings(allowed_hosts="*")).refusal(scope_of(*given)), InvalidHttp)


def test_before_http_1_1_there_may_be_none() -> None:
    check = HostCheck.of(Settings())
    assert check.refusal(scope_of(version="1.0")) is None
    assert check.refusal(scope_of("evil.example", version="1.0")) is not None
