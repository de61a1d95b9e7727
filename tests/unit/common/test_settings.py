"""Settings from the environment."""

from pathlib import Path

import pytest

from ci_common.errors import SettingsError
from ci_common.settings import Settings


def test_defaults_are_valid_and_each_has_a_variable_and_a_meaning() -> None:
    assert Settings.from_env({}) == Settings()
    names = Settings.env_names()
    assert len(set(names.values())) == len(names) == len(Settings.model_fields)
    for name in names:
        described = Settings.describe(name)
        assert described["meaning"], name
        assert described["default"] == Settings.model_fields[name].default


def test_values_come_from_the_environment_and_overrides_win() -> None:
    environ = {"PORT": "9", "CI_STOP_GRACE": "1m", "CI_MAX_UPLOAD_BYTES": "2k", "CI_RUNTIME": "", "OTHER": "x"}
    settings = Settings.from_env(environ, max_concurrency=7, port=10)
    assert (settings.port, settings.stop_grace, settings.max_upload_bytes) == (10, 60.0, 2048)
    assert (settings.runtime, settings.max_concurrency) == ("auto", 7)


def test_reads_this_process_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_QUEUED", "3")
    assert Settings.from_env().max_queued == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "65536"),
        ("MAX_CONCURRENCY", "0"),
        ("CI_RUNTIME", "podman"),
        ("CI_CONTAINER_PREFIX", "a b"),
        ("CI_LEASE_SECONDS", "0"),
        ("CI_DEFAULT_TIMEOUT", "for ever"),
        ("CI_MAX_UPLOAD_BYTES", "big"),
    ],
)
def test_names_what_is_wrong(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}='{value}'"):
        Settings.from_env({name: value})


def test_names_all_that_is_wrong_at_once() -> None:
    with pytest.raises(SettingsError, match=r"(?s)PORT.*MAX_QUEUED|MAX_QUEUED.*PORT"):
        Settings.from_env({"PORT": "x", "MAX_QUEUED": "y"})


@pytest.mark.parametrize(
    ("db", "data", "expected"),
    [("/a/jobs.db", "", "/a/jobs.data"), ("/a/jobs", "", "/a/jobs.data"), ("/a/jobs.db", "/b", "/b")],
)
def test_the_data_directory_is_beside_the_database(db: str, data: str, expected: str) -> None:
    assert Settings.from_env({"CI_DB_PATH": db, "CI_DATA_DIR": data}).data_path == Path(expected)


def test_the_data_directory_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings().data_path == tmp_path / "ci_jobs.data"
