"""`ci secrets` as people use it."""

import json
from pathlib import Path

import pytest

from ci_common.secrets.ring import KeyRing
from ci_common.settings import Settings
from tests.helpers.service import Service, Start, ended, terminals

VALUE = "correct-horse-battery-staple"


@pytest.fixture
def environment(as_a_person: dict[str, str]) -> dict[str, str]:
    return as_a_person


def test_from_the_first_secret_to_its_end(environment: dict[str, str], tmp_path: Path) -> None:
    service = Service(environment, "serve", "--port", "0").start()
    try:
        with terminals({**environment, "CI_SERVER_URL": service.url}) as ci:
            _use(ci, environment, tmp_path)
        assert VALUE not in "".join(service.said)
    finally:
        service.close()


def _use(ci: Start, environment: dict[str, str], tmp_path: Path) -> None:
    given = tmp_path / "value"
    given.write_text(f"{VALUE}\n")
    assert ended(ci("secrets", "list")) == (0, b"", "ci: there are no secrets\n")
    assert ended(ci("secrets", "rotate", "TOKEN", stdin=given))[0] != 0, "there is none yet"
    status, out, said = ended(ci("secrets", "set", "TOKEN", "--project", "website", stdin=given))
    assert (status, out) == (0, b""), said
    given.write_text("1234")
    status, _, said = ended(ci("secrets", "set", "PIN", stdin=given))
    assert status != 0
    assert "--unmasked" in said
    assert ended(ci("secrets", "set", "PIN", "--unmasked", stdin=given))[0] == 0
    assert ended(ci("secrets", "set", "VAULT", "--reference", "vault:secret/website#token"))[0] == 0
    status, out, _ = ended(ci("secrets", "list"))
    assert status == 0
    assert [line.split()[:4] for line in out.decode().splitlines()[1:]] == [
        ["PIN", "-", "here", "no"],
        ["VAULT", "-", "vault:secret/website#token", "yes"],
        ["TOKEN", "website", "here", "yes"],
    ]
    _rotate(ci, environment)
    status, _, said = ended(ci("backup", str(tmp_path / "backup")))
    assert status == 0
    assert "2 secrets are in it as ciphertext, without" in said
    assert not (tmp_path / "backup" / "secrets.keys").exists()
    status, _, said = ended(ci("backup", str(tmp_path / "whole"), "--with-key-ring"))
    assert "with its key ring" in said
    assert (tmp_path / "whole" / "secrets.keys").stat().st_mode & 0o777 == 0o600
    for path in (tmp_path / "backup").rglob("*"):
        assert not path.is_file() or VALUE.encode() not in path.read_bytes()
    assert ended(ci("secrets", "remove", "TOKEN", "--project", "website"))[0] == 0
    status, _, said = ended(ci("secrets", "remove", "TOKEN", "--project", "website"))
    assert status != 0
    assert "there is no secret" in said


def _rotate(ci: Start, environment: dict[str, str]) -> None:
    ring = KeyRing(Settings.from_env(environment).keyring_path)
    before = ring.read()
    status, out, said = ended(ci("secrets", "rotate-keys", "--json"))
    assert status == 0, said
    done = json.loads(out)
    assert (done["resealed"], done["removed_keys"], done["key"]) == (2, 0, ring.read()[-1].id)
    assert ring.read()[:1] == before
    assert json.loads(ended(ci("secrets", "rotate-keys", "--json"))[1])["removed_keys"] == 1
