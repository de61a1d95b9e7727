"""Where a database is, and what is shown of it."""

from pathlib import Path

import pytest

from ci_common.configuration.database_address import DatabaseAddress, DatabaseUrl
from ci_common.errors import SettingsError
from ci_common.settings import Settings

PASSWORD = "geheim"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://ci:geheim@db.example.org/ci", "postgresql://db.example.org:5432/ci"),
        ("postgres://ci:geheim@db:6432/jobs?sslmode=require", "postgresql://db:6432/jobs"),
        ("postgresql://ci:geheim@[::1]:5433/ci", "postgresql://[::1]:5433/ci"),
        ("postgresql://ci:geheim@one:1,two:2/ci?target_session_attrs=read-write", "postgresql://one:1,two:2/ci"),
        ("postgresql://ci:geheim@/ci?host=/run/postgresql", "postgresql:///run/postgresql:5432/ci"),
        ("postgresql:///?user=ci&password=geheim&host=db&port=7&dbname=jobs", "postgresql://db:7/jobs"),
        ("postgresql://ci:geheim@db", "postgresql://db:5432/ci"),
        ("postgresql:///ci", "postgresql://:5432/ci"),
    ],
)
def test_a_url_is_named_without_its_password(url: str, name: str) -> None:
    parsed = DatabaseUrl.parse(url)
    assert (parsed.name, parsed.text) == (name, url)
    for shown in (str(parsed), repr(parsed), str(DatabaseAddress(url=parsed)), repr(DatabaseAddress(url=parsed))):
        assert PASSWORD not in shown


@pytest.mark.parametrize(
    "url", ["mysql://ci:geheim@db/ci", "postgresql://ci:ge/heim@db/ci", "postgresql://ci:geheim@a b:c/"]
)
@pytest.mark.parametrize("variable", ["CI_DATABASE_URL", "CI_DATABASE_LISTEN_URL"])
def test_what_is_wrong_is_said_without_the_password(url: str, variable: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({variable: url})
    assert variable in str(caught.value)
    assert "postgresql://USER:PASSWORD@HOST:PORT/DATABASE" in str(caught.value)
    assert "heim" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_path_or_a_url() -> None:
    assert DatabaseAddress.parse("ci_jobs.db") == DatabaseAddress(path=Path("ci_jobs.db"))
    assert DatabaseAddress.parse("postgresql://db/ci").url == DatabaseUrl.parse("postgresql://db/ci")


def test_settings_name_one_database() -> None:
    url = "postgresql://ci:geheim@db/ci"
    settings = Settings.from_env({"CI_DATABASE_URL": url, "CI_DATABASE_LISTEN_URL": "postgresql://server/ci"})
    assert settings.database.path is None
    assert str(settings.database) == "postgresql://db:5432/ci"
    assert settings.data_path == Path("ci_jobs.data").absolute()
    assert PASSWORD not in repr(settings)
    with pytest.raises(SettingsError, match="unset one of them"):
        Settings.from_env({"CI_DATABASE_URL": url, "CI_DB_PATH": "a.db"})
    with pytest.raises(SettingsError, match="without CI_DATABASE_URL"):
        Settings.from_env({"CI_DATABASE_LISTEN_URL": url})


def test_a_host_without_the_files_has_no_controller() -> None:
    assert Settings.from_env({"CI_FILES": "http://other:8000/", "CI_CONTROLLER": "off"}).files == "http://other:8000"
    with pytest.raises(SettingsError, match="CI_CONTROLLER=off"):
        Settings.from_env({"CI_FILES": "elsewhere"})
    with pytest.raises(SettingsError, match="CI_FILES='other': it is one of here, elsewhere, or the URL"):
        Settings.from_env({"CI_FILES": "other"})
