"""`ci keys`, `ci login` and `ci serve` as people use them."""

import os
import stat
from pathlib import Path

import httpx
import pytest

from ci_cli.main import run_cli
from tests.helpers.keys import bearing
from tests.helpers.service import Service, Start, ended, terminals, tree


@pytest.fixture
def environment(as_a_person: dict[str, str]) -> dict[str, str]:
    return as_a_person


def test_a_server_without_keys_serves_loopback_alone(environment: dict[str, str]) -> None:
    with terminals(environment) as ci:
        status, _, said = ended(ci("serve", "--host", "0.0.0.0", "--port", "0"))
    assert status == 64
    assert "ci keys create --admin" in said
    assert "--insecure" in said
    assert "serving at" not in said


def test_from_the_first_key_to_its_end(environment: dict[str, str], tmp_path: Path) -> None:
    project = tree(tmp_path / "project", {"ci.yaml": "command: echo hello"})
    with terminals(environment) as ci:
        status, out, said = ended(ci("keys", "create", "--admin"))
        key = out.decode().strip()
        assert (status, key[:3], len(key)) == (0, "ci_", 69)
        assert environment["CI_DB_PATH"] in said
        assert key not in said
        service = Service(environment, "serve", "--host", "0.0.0.0", "--port", "0").start()
        try:
            _use(ci, service, key, project, tmp_path)
        finally:
            service.close()
        assert key not in "".join(service.said)
        assert ended(ci("run", project))[0] == 0, "without a server no key is needed"


def _use(ci: Start, service: Service, key: str, project: Path, tmp_path: Path) -> None:
    port = httpx.URL(service.url).port
    url = f"http://127.0.0.1:{port}"
    status, _, said = ended(ci("list", "--server", url))
    assert status == 64
    assert "ci login" in said

    status, _, said = ended(ci("login", "--server", url, CI_TOKEN=f"{key[:-1]}_"))
    assert status == 64, said
    status, _, said = ended(ci("login", "--server", url, CI_TOKEN=key))
    assert status == 0, said
    assert "as admin (admin)" in said
    kept = tmp_path / "config" / "ci" / "keys.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert ended(ci("submit", project, "--server", f"http://localhost:{port}"))[0] == 0

    running = ci("keys", "create", "bob", "--role", "developer", "--project", "web", "--server", url)
    arguments = Path(f"/proc/{running.pid}/cmdline").read_bytes()
    assert key.encode() not in arguments
    status, out, _ = ended(running)
    bob = out.decode().strip()
    assert status == 0
    status, out, said = ended(ci("run", project, "--server", url, CI_TOKEN=bob))
    assert (status, out) == (0, b"hello\n"), said
    jobs = httpx.get(f"{url}/jobs", headers=bearing(bob), trust_env=False).json()
    assert [job["project"] for job in jobs] == ["web"], "the job of the other key is not there for this one"

    status, out, _ = ended(ci("keys", "rotate", "--overlap", "0", "--server", url))
    assert status == 0
    assert out.decode().strip() in kept.read_text(), "the kept key is the new one"
    assert httpx.get(f"{url}/jobs", headers=bearing(key), trust_env=False).status_code == 401
    status, out, _ = ended(ci("keys", "list", "--server", url))
    assert status == 0
    assert b"bob" in out
    assert bob.encode() not in out
    assert ended(ci("keys", "revoke", "bob", "--server", url))[0] == 0
    assert ended(ci("list", "--server", url, CI_TOKEN=bob))[0] == 64
    assert ended(ci("logout", "--server", url))[0] == 0
    assert ended(ci("list", "--server", url))[0] == 64
    _use_keyring(ci, url, out_of=kept, key=_new_key(ci))


def _new_key(ci: Start) -> str:
    return ended(ci("keys", "create", "carol", "--admin"))[1].decode().strip()


def _use_keyring(ci: Start, url: str, *, out_of: Path, key: str) -> None:
    backend = {
        "PYTHON_KEYRING_BACKEND": "keyrings.alt.file.PlaintextKeyring",
        "XDG_DATA_HOME": str(out_of.parent / "data"),
    }
    status, _, said = ended(ci("login", "--keyring", "--server", url, **backend, CI_TOKEN=key))
    assert status == 0, said
    assert "kept in the keyring" in said
    assert key not in out_of.read_text()
    assert ended(ci("list", "--server", url, **backend))[0] == 0
    status, out, said = ended(ci("keys", "rotate", "--overlap", "0", "--server", url, **backend))
    assert (status, "kept in the keyring" in said) == (0, True), said
    assert out.decode().strip() not in out_of.read_text()
    assert ended(ci("list", "--server", url, **backend))[0] == 0, "with the new one"
    assert ended(ci("logout", "--server", url, **backend))[0] == 0
    assert ended(ci("list", "--server", url, **backend))[0] == 64


def test_required_serves_and_refuses_until_there_is_a_key(environment: dict[str, str]) -> None:
    service = Service({**environment, "CI_AUTH": "required"}, "serve", "--host", "0.0.0.0", "--port", "0").start()
    try:
        with service.client(trust_env=False) as client, terminals(environment) as ci:
            assert client.get("/ready").status_code == 200
            assert client.get("/jobs").status_code == 401
            key = ended(ci("keys", "create", "--admin"))[1].decode().strip()
            assert client.get("/jobs", headers=bearing(key)).status_code == 200
    finally:
        service.close()


def test_insecure_lets_everyone_in_until_there_is_a_key(environment: dict[str, str]) -> None:
    service = Service(environment, "serve", "--host", "0.0.0.0", "--port", "0", "--insecure").start()
    try:
        with service.client(trust_env=False) as client:
            assert client.get("/jobs").status_code == 200
            assert client.post("/keys", json={"name": "x", "role": "admin"}).status_code == 403
    finally:
        service.close()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["keys", "create"], "give the key a name"),
        (["keys", "create", "x"], "either --role or --scope"),
        (["keys", "create", "x", "--role", "viewer", "--scope", "jobs:read"], "either --role or --scope"),
        (["keys", "create", "--admin", "--project", "x"], "--admin makes a key for everything"),
        (["keys", "create", "--admin", "--expires", "soon"], "is not a duration"),
        (["keys", "create", "x\ny", "--admin"], "name"),
        (["login"], "no server"),
    ],
)
def test_misuse_is_told(
    args: list[str],
    says: str,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(os.path.dirname(environment["CI_DB_PATH"]))
    assert run_cli(args) in (64, 69)
    assert says in capsys.readouterr().err
