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


def test_a_job_is_given_secrets_on_the_command_line(environment: dict[str, str], tmp_path: Path) -> None:
    service = Service(environment, "serve", "--port", "0").start()
    given = tmp_path / "value"
    given.write_text(VALUE)
    shell = ["--", "sh", "-c", 'test "$TOKEN" = "$DEPLOY_KEY" && echo "with $TOKEN"']
    try:
        with terminals({**environment, "CI_SERVER_URL": service.url}) as ci:
            for name in ("TOKEN", "KEY"):
                assert ended(ci("secrets", "set", name, stdin=given))[0] == 0
            status, out, said = ended(ci("exec", "none", "--secret", "TOKEN", "--secret", "KEY=DEPLOY_KEY", *shell))
            assert (status, out.decode()) == (0, f"with {'*' * len(VALUE)}\n"), said
            status, out, said = ended(ci("exec", "none", "--secret", "OTHER", *shell))
            assert (status, out, "set it with: ci secrets set OTHER" in said) == (64, b"", True), (status, said)
    finally:
        service.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["=TOKEN"], "write it as NAME or NAME=VARIABLE"),
        (["TOKEN="], "write it as NAME or NAME=VARIABLE"),
        (["TOKEN", "TOKEN=OTHER"], "it is given twice"),
        (["no-name"], "is no name of a secret"),
        (["TOKEN=CI_TOKEN"], "is no variable for a secret"),
    ],
)
def test_what_is_no_secret_of_a_job(environment: dict[str, str], options: list[str], said: str) -> None:
    with terminals(environment) as ci:
        words = [word for option in options for word in ("--secret", option)]
        status, _, error = ended(ci("exec", "none", *words, "--", "true"))
    assert (status, said in " ".join(error.split())) == (64, True), error
