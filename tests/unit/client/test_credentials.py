"""The user's keys: where they are kept, and to whom they are sent."""

import json
import stat
from pathlib import Path

import httpx
import keyring
import pytest
from keyring.backends.fail import Keyring as NoKeyring
from keyrings.alt.file import PlaintextKeyring

from ci_client.access.credentials import forget_key, is_in_keyring, keep_key, key_for, keys_path
from ci_client.errors import CredentialsUnusable, NotWritten
from ci_client.transport import Connection, open_http

TEAM = "https://ci.example.org"


@pytest.fixture(autouse=True)
def own_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("CI_TOKEN", "CI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_a_key_is_kept_for_its_server_and_forgotten() -> None:
    assert key_for(TEAM) is None
    assert keep_key(TEAM, "ci_team") == keys_path()
    keep_key("http://127.0.0.1:8000", "ci_here")
    assert key_for("https://CI.example.org:443/") == "ci_team"
    assert key_for("http://localhost:8000") == key_for("http://[::1]:8000") == "ci_here"
    for other in ("http://ci.example.org", "https://ci.example.org:8443", "https://ci.example.org.evil.org"):
        assert key_for(other) is None
    assert forget_key(TEAM)
    assert not forget_key(TEAM)
    assert key_for("http://localhost:8000") == "ci_here"


def test_only_the_user_can_read_the_file() -> None:
    path = keep_key(TEAM, "ci_team")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path], "no draft is left"
    path.chmod(0o640)
    with pytest.raises(CredentialsUnusable, match="chmod 600"):
        key_for(TEAM)


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = keep_key(TEAM, "ci_team")
    path.write_text("not JSON")
    with pytest.raises(CredentialsUnusable, match=r"keys\.json is not JSON"):
        key_for(TEAM)
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text("a file")
    assert key_for(TEAM) is None
    with pytest.raises(NotWritten, match="cannot be written"):
        keep_key(TEAM, "ci_team")


def test_the_environment_wins_but_not_over_a_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_key(TEAM, "ci_kept")
    monkeypatch.setenv("CI_API_KEY", "ci_api")
    assert key_for(TEAM) == "ci_api"
    monkeypatch.setenv("CI_TOKEN", " ci_token\n")
    assert key_for(TEAM) == "ci_token"
    assert key_for("unix:///run/ci.sock") is None
    keep_key("unix:///run/ci.sock", "ci_socket")
    assert key_for("unix:///run/ci.sock") == "ci_socket"


async def sent(client: httpx.AsyncClient, url: str) -> str | None:
    """Return the Authorization with which the client would send a request."""
    assert client.auth is not None
    return next(client.auth.auth_flow(httpx.Request("GET", url))).headers.get("Authorization")


async def test_a_key_goes_to_its_server_alone() -> None:
    async with open_http("http://127.0.0.1:8000", idle_seconds=1, key="ci_key") as client:
        assert await sent(client, "http://127.0.0.1:8000/jobs") == "Bearer ci_key"
        for elsewhere in ("http://127.0.0.1:9000/", "https://127.0.0.1:8000/", "http://store.example.org/x"):
            assert await sent(client, elsewhere) is None


async def test_what_cannot_be_a_key_is_not_sent() -> None:
    for key in ("ci_a\r\nX-Header: 1", "ci_ä", "ci_a b"):
        with pytest.raises(CredentialsUnusable, match="copied as a whole") as error:
            open_http(TEAM, idle_seconds=1, key=key)
        assert key not in str(error.value)


async def test_the_server_that_has_the_files_gets_the_key_too() -> None:
    """Each time, also once the client goes there at once."""
    seen: list[tuple[str, str | None]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.url.host, request.headers.get("Authorization")))
        if request.url.host == "127.0.0.1":
            return httpx.Response(307, headers={"Location": f"http://files.example.org{request.url.path}"})
        return httpx.Response(200, json={})

    connection = Connection("http://127.0.0.1:8000", idle_seconds=1, key="ci_key")
    connection.http._transport = httpx.MockTransport(answer)
    connection.http._mounts = {}
    async with connection:
        for _ in range(2):
            await connection.ask("GET", "/uploads/x")
    here, files = ("127.0.0.1", "Bearer ci_key"), ("files.example.org", "Bearer ci_key")
    assert seen == [here, files, files]


def test_the_file_has_nothing_but_keys_by_server() -> None:
    path = keep_key(TEAM, "ci_team")
    assert json.loads(path.read_text()) == {f"{TEAM}:443": "ci_team"}


@pytest.fixture
def system_keyring(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> PlaintextKeyring:
    """A keyring that needs no desktop."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    backend = PlaintextKeyring()
    monkeypatch.setattr(keyring, "get_keyring", lambda: backend)
    return backend


def test_a_key_in_the_keyring_is_in_no_file_of_ours(system_keyring: PlaintextKeyring) -> None:
    keep_key("http://localhost:8000", "ci_here")
    path = keep_key(TEAM, "ci_team", in_keyring=True)
    assert is_in_keyring(TEAM)
    assert not is_in_keyring("http://localhost:8000")
    assert json.loads(path.read_text())["https://ci.example.org:443"] == {"kept": "keyring"}
    assert "ci_team" not in path.read_text()
    assert key_for("https://CI.example.org/") == "ci_team"
    keep_key(TEAM, "ci_other", in_keyring=True)
    assert key_for(TEAM) == system_keyring.get_password("ci-server", "https://ci.example.org:443") == "ci_other"
    keep_key(TEAM, "ci_filed")
    assert key_for(TEAM) == "ci_filed"
    assert system_keyring.get_password("ci-server", "https://ci.example.org:443") is None, "it is in one place"
    keep_key(TEAM, "ci_team", in_keyring=True)
    assert forget_key(TEAM)
    assert not forget_key(TEAM)
    assert system_keyring.get_password("ci-server", "https://ci.example.org:443") is None
    assert key_for("http://localhost:8000") == "ci_here"


def test_a_keyring_that_has_lost_the_key_is_named(system_keyring: PlaintextKeyring) -> None:
    keep_key(TEAM, "ci_team", in_keyring=True)
    system_keyring.delete_password("ci-server", "https://ci.example.org:443")
    with pytest.raises(CredentialsUnusable, match="run `ci login` again"):
        key_for(TEAM)
    assert forget_key(TEAM)


def test_without_a_keyring_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "get_keyring", NoKeyring)
    with pytest.raises(CredentialsUnusable, match="leave --keyring out"):
        keep_key(TEAM, "ci_team", in_keyring=True)
    assert not keys_path().exists()
