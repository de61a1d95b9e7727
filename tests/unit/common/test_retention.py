"""What the settings on retention mean."""

import pytest

from ci_common.errors import SettingsError
from ci_common.settings import Settings

DAY = 86_400.0


def test_one_value_for_all_and_others_for_some_projects() -> None:
    retention = Settings.from_env({"CI_RETENTION": "30d, nightly=7d,a=b=12h,release=forever"}).retention
    assert retention.general == retention.of(None) == retention.of("other") == 30 * DAY
    assert (retention.of("nightly"), retention.of("a=b"), retention.of("release")) == (7 * DAY, DAY / 2, None)
    numbers = Settings.from_env({"CI_MAX_JOBS_PER_PROJECT": "500,nightly=50,release=unlimited"}).max_jobs_per_project
    assert [numbers.of(name) for name in (None, "x", "nightly", "release")] == [500, 500, 50, None]


def test_without_a_limit() -> None:
    settings = Settings.from_env({"CI_RETENTION": "forever", "MAX_JOBS": "unlimited"})
    assert (settings.retention.of("x"), settings.max_jobs.general) == (None, None)
    assert (settings.upload_retention.general, settings.max_jobs_per_project.general) == (None, None)


def test_is_shown_as_it_was_said() -> None:
    assert str(Settings.from_env({"CI_RETENTION": " 1d,x=2d "}).retention) == "1d,x=2d"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("CI_RETENTION", "0", "forever"),
        ("CI_RETENTION", "never", "forever"),
        ("CI_RETENTION", "-1", "forever"),
        ("CI_RETENTION", "inf", "forever"),
        ("CI_RETENTION", "nan", "forever"),
        ("CI_RETENTION", "1e9d", "forever"),
        ("CI_RETENTION", "nightly=7d", "'nightly=7d' is not a retention period"),
        ("CI_RETENTION", "7d,nightly", "PROJECT=LIMIT"),
        ("CI_RETENTION", "7d,=7d", "PROJECT=LIMIT"),
        ("CI_RETENTION", "7d,a=1d,a=2d", "twice"),
        ("CI_RETENTION_FAILED", "7d,nightly=soon", "'soon'"),
        ("CI_UPLOAD_RETENTION", "x", "forever"),
        ("MAX_JOBS", "0", "unlimited"),
        ("MAX_JOBS", "1.5", "unlimited"),
        ("MAX_JOBS", "10,nightly=5", "CI_MAX_JOBS_PER_PROJECT"),
        ("CI_MAX_JOBS_PER_PROJECT", "forever", "unlimited"),
    ],
)
def test_says_what_would_be_right(name: str, value: str, told: str) -> None:
    with pytest.raises(SettingsError, match=name) as raised:
        Settings.from_env({name: value})
    assert told in str(raised.value)
