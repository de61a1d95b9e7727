"""Which values can be masked."""

import pytest

from ci_common.secrets.values import check_reference, check_value, why_not_masked


@pytest.mark.parametrize(
    "value",
    [
        "",
        "a",
        "1234",
        "secret",
        "password",
        "aaaaaaaaaaaa",
        "abababababab",
        "12345678",
        "2026-11-29",
        "127.0.0.1",
        "True",
        "succeeded",
        "Production",
        "development",
        "   abc   ",
        "\n\n\n\n\n\n\n\n\n",
    ],
)
def test_short_and_common_values_are_not_masked(value: str) -> None:
    assert why_not_masked(value)


@pytest.mark.parametrize(
    "value",
    ["hunter2-hunter2", "p4ssw0rd-xyz", "correct horse battery", "1234567890123456", "ünïcödé!x", "a\nb\nc\nd\ne"],
)
def test_others_are(value: str) -> None:
    assert why_not_masked(value) is None


@pytest.mark.parametrize("value", ["", " \n", "a\0b", "x" * 65_537])
def test_values_that_no_job_can_have(value: str) -> None:
    with pytest.raises(ValueError, match="it "):
        check_value(value)


@pytest.mark.parametrize(
    "text", ["env:TOKEN", "file:/run/secrets/token", "vault:secret/website#token", "vault:kv/a/b c#d"]
)
def test_references(text: str) -> None:
    assert check_reference(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "env:",
        "env:A-B",
        "file:relative",
        "vault:secret#a",
        "vault:/a#b",
        "vault:a/b",
        "http://x",
        "env:A\n",
        "vault:a//b#c",
    ],
)
def test_no_references(text: str) -> None:
    with pytest.raises(ValueError, match="write env:NAME"):
        check_reference(text)
