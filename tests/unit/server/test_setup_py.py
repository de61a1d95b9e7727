"""What can be read from a setup.py without running it."""

import pytest

from ci_server.recognition.setup_py import SetupArguments, read_setup_py


def test_literals() -> None:
    found = read_setup_py(
        "import setuptools\nsetuptools.setup(extras_require={'test': ['a', 'b']}, tests_require='c\\nd')"
    )
    assert found == SetupArguments({"test": ["a", "b"]}, ["c", "d"])


def test_names_sums_and_additions() -> None:
    found = read_setup_py(
        """
TESTS: list = ["a"]
extras = {"test": TESTS + ["b"], "docs": unknown()}
extras["all"] = extras
options = dict(tests_require=TESTS)
if True:
    setup(extras_require=extras, **options)
"""
    )
    assert found == SetupArguments({"test": ["a", "b"], "docs": [], "all": []}, ["a"])


@pytest.mark.parametrize(
    "text", ["setup(", "\0", "setup(extras_require=read())", "x = " + "(" * 5000, "x = " + "-" * 100_000 + "1", ""]
)
def test_what_cannot_be_read_counts_as_not_said(text: str) -> None:
    assert read_setup_py(text) == SetupArguments()


def test_nothing_is_run() -> None:
    assert read_setup_py("raise SystemExit\nimport os\nos.abort()\nsetup(tests_require=['a'])").tests_require == ["a"]
