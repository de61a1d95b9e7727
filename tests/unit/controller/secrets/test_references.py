"""Values that are kept elsewhere: only what a setting names is read, and no message has a value."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_common.settings import Settings
from ci_controller.secrets.references import read_reference
from ci_controller.secrets.vault import ValueUnavailable
from tests.helpers.vault import Vault, vault_server

VALUE = "correct-horse-battery-staple"


@pytest.fixture
def vault() -> Iterator[Vault]:
    with vault_server() as vault:
        vault.secrets["secret/team/web site"] = {"token": VALUE, "port": 5432, "list": ["a"]}
        yield vault


def settings_for(vault: Vault, tmp_path: Path, **more: object) -> Settings:
    (tmp_path / "token").write_text(f"{vault.token}\n")
    return Settings(vault_addr=f"{vault.url}/", vault_token_file=tmp_path / "token", **more)  # type: ignore[arg-type]  # settings by name


def refused(reference: str, settings: Settings) -> str:
    with pytest.raises(ValueUnavailable) as caught:
        read_reference(reference, settings)
    assert VALUE not in str(caught.value)
    assert "hvs." not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("allowed", "name", "given"),
    [
        ("TEAM_TOKEN", "TEAM_TOKEN", True),
        ("OTHER, TEAM_*", "TEAM_TOKEN", True),
        ("", "TEAM_TOKEN", False),
        ("*", "TEAM_TOKEN", False),
        ("TEAM", "TEAM_TOKEN", False),
        ("TEAM_TOKEN_*", "TEAM_TOKEN", False),
    ],
)
def test_variables_that_a_setting_names(allowed: str, name: str, given: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, VALUE)
    settings = Settings(secrets_env=allowed)
    if given:
        assert read_reference(f"env:{name}", settings) == VALUE
    else:
        assert "CI_SECRETS_ENV" in refused(f"env:{name}", settings)
    monkeypatch.delenv(name)
    refused(f"env:{name}", settings)


def test_files_below_what_a_setting_names(tmp_path: Path) -> None:
    allowed, other = tmp_path / "allowed", tmp_path / "other"
    for directory in (allowed, other):
        directory.mkdir()
        (directory / "token").write_text(f"{VALUE}\n")
    (allowed / "pem").write_text("two\nlines\n")
    (allowed / "link").symlink_to(other / "token")
    os.mkfifo(allowed / "fifo")
    (allowed / "bytes").write_bytes(b"\xff\xfe")
    settings = Settings(secrets_files=f"{allowed}, {tmp_path / 'single'}")
    assert read_reference(f"file:{allowed}/token", settings) == VALUE
    assert read_reference(f"file:{allowed}/pem", settings) == "two\nlines\n"
    for path in (other / "token", allowed / "link", allowed / ".." / "other" / "token", Path(f"{allowed}-other/x")):
        assert "CI_SECRETS_FILES" in refused(f"file:{path}", settings)
    assert "no regular file" in refused(f"file:{allowed}/fifo", settings)
    assert "UTF-8" in refused(f"file:{allowed}/bytes", settings)
    assert "cannot be read" in refused(f"file:{allowed}/absent", settings)
    assert "CI_SECRETS_FILES" in refused(f"file:{allowed}/token", Settings())


def test_fields_in_vault(vault: Vault, tmp_path: Path) -> None:
    settings = settings_for(vault, tmp_path, vault_namespace="team")
    assert read_reference("vault:secret/team/web site#token", settings) == VALUE
    assert read_reference("vault:secret/team/web site#port", settings) == "5432"
    assert read_reference("vault:secret/team/web site#list", settings) == '["a"]'
    assert vault.asked[0] == "/v1/secret/data/team/web%20site"
    assert set(vault.namespaces) == {"team"}


def test_what_vault_does_not_give(vault: Vault, tmp_path: Path) -> None:
    settings, reference = settings_for(vault, tmp_path), "vault:secret/team/web site#token"
    assert "has no field other" in refused("vault:secret/team/web site#other", settings)
    assert "404" in refused("vault:secret/team/absent#token", settings)
    vault.deleted.add("secret/team/web site")
    assert "deleted" in refused(reference, settings)
    vault.deleted.clear()
    vault.sealed = True
    assert "sealed" in refused(reference, settings)
    vault.sealed = False
    (tmp_path / "token").write_text("hvs.another")
    assert "expired or may not read it" in refused(reference, settings)
    (tmp_path / "token").unlink()
    assert "cannot be read" in refused(reference, settings)
    assert "VAULT_ADDR" in refused(reference, Settings())


def test_the_token_goes_nowhere_else(vault: Vault, tmp_path: Path) -> None:
    with vault_server() as other:
        vault.redirect = f"{other.url}/v1/secret/data/team/web%20site"
        assert "redirect" in refused("vault:secret/team/web site#token", settings_for(vault, tmp_path))
        assert other.asked == []


def test_a_vault_that_is_not_there(vault: Vault, tmp_path: Path) -> None:
    settings = settings_for(vault, tmp_path)
    for address in ("http://127.0.0.1:1", "file:///etc/passwd", "gopher://x"):
        refused("vault:secret/a#b", settings.model_copy(update={"vault_addr": address}))
