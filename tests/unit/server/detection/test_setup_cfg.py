"""What setup.cfg says, against setuptools' own reading."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ci_common.errors import InvalidRequest
from ci_server.detection.declarations.extras import read_extras
from ci_server.detection.declarations.setuptools_files import SetupArguments, SetupCfg
from ci_server.detection.reading.project_files import ProjectFiles
from ci_server.detection.reading.requirements import parse_requirement
from tests.helpers.service import tree
from tests.helpers.untrusted import pip_calls

SETUPTOOLS = """
import json, os, sys
from packaging.requirements import Requirement
from setuptools.dist import Distribution

def read():
    distribution = Distribution()
    distribution.parse_config_files(["setup.cfg"])
    lists = {**distribution.extras_require, "": distribution.install_requires}
    return {name: list(dict.fromkeys(str(Requirement(text)) for text in texts)) for name, texts in lists.items()}

for folder in sys.stdin:
    os.chdir(folder.rstrip())
    try:
        found = read()
    except Exception:
        found = None
    print(json.dumps(found), flush=True)
"""
"""Reads the setup.cfg of each folder on standard input. Apart from the tests, since setuptools changes imports."""
FILES = {"a.txt": "one>1  # why\n\n# not\ntwo ; python_version > '3'\n", "inner/b.txt": "three \\\n>=2\nfour"}
PIECES = st.sampled_from(
    [
        *("one", "two>1", "three[x]", "four ; os_name == 'posix'", ";", "; ", "\n  ", "\n  # note\n  ", "\n\n  ", ","),
        *("file: a.txt", "file:a.txt, inner/b.txt", "file: gone.txt", " # why"),
        *("%(base)s", "%(gone)s", "%%", "%"),
    ]
)
VALUES = st.one_of(
    st.sampled_from(
        ["one; two>1", "file: a.txt", "file:a.txt, inner/b.txt", "%(base)s", "\n  one\n  %(base)s", "one;"]
    ),
    st.lists(PIECES, max_size=4).map("".join),
)


@pytest.fixture(scope="module")
def setuptools() -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-W", "ignore", "-c", SETUPTOOLS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


def by_setuptools(process: "subprocess.Popen[str]", folder: Path) -> Any:
    """Return the requirements of each extra, and of the project by an empty name; None where it refuses them."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{folder}\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def by_us(folder: Path) -> dict[str, list[str]] | None:
    """Return the same as we read it."""
    files = ProjectFiles(folder)
    try:
        setup_cfg = SetupCfg(files)
        extras = read_extras({}, files, setup_cfg, SetupArguments())
        found = {name: extra.requirements for name, extra in extras.items()} | {"": setup_cfg.install_requires}
        parsed = {name: [str(parse_requirement(text, "x")) for text in texts] for name, texts in found.items()}
        return {name: list(dict.fromkeys(texts)) for name, texts in parsed.items()}
    except InvalidRequest:
        return None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(VALUES, VALUES)
@example("file: a.txt", "one; two")
@example("one \\", "file: a.txt\n  one")
@example("%(base)s", "\n  file: a.txt")
def test_it_is_read_as_setuptools_reads_it(
    tmp_path: Path, setuptools: "subprocess.Popen[str]", extra: str, requires: str
) -> None:
    text = f"[metadata]\nname = thing\n[options]\nbase = five\ninstall_requires = {requires}\n"
    text += f"[options.extras_require]\nbase = six\ntest = {extra}\n"
    folder = tree(tree(tmp_path, {"a.txt": "outside"}) / "project", FILES | {"setup.cfg": text})
    assert by_us(folder) == by_setuptools(setuptools, folder)


@pytest.mark.parametrize(
    ("value", "requirements"),
    [
        (" pytest; pytest-mock", ["pytest", "pytest-mock"]),
        (" pytest-mock; pytest ;", ["pytest-mock", "pytest"]),
        (" file: needs.txt", ["mock>1", "cov"]),
        (" %(more)s", ["more"]),
        ("\n  mock # why\n  # not\n  %(more)s", ["mock", "more"]),
    ],
)
@pytest.mark.parametrize("option", ["tests_require", "tests-require"])
def test_tests_require(tmp_path: Path, option: str, value: str, requirements: list[str]) -> None:
    cfg = f"[options]\nmore = more\n{option} ={value}\n[tool:pytest]\nlog_format = %(asctime)s\n"
    files = {"setup.py": "", "setup.cfg": cfg, "needs.txt": "mock>1  # why\n\n# not\ncov\n"}
    expected = [*requirements, *([] if "pytest" in requirements else ["pytest"])]
    assert pip_calls(tmp_path, files) == [["-e", ".", *expected]]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("file: ../needs.txt", "outside of the project"),
        ("file: /etc/passwd", "outside of the project"),
        ("%(gone)s", "gone"),
        ("100%", "neither %%"),
        ("%(tests_require)s", "deep"),
        ("-r needs.txt", "'-r needs.txt' is not a requirement"),
        ("mock ; python_version < '4'", "is not a requirement"),
    ],
)
def test_what_setuptools_does_not_take(tmp_path: Path, value: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=r"setup\.cfg is not valid: ") as refused:
        pip_calls(tmp_path, {"setup.py": "", "setup.cfg": f"[options]\ntests_require = {value}\n"})
    assert message in str(refused.value)
    assert [error.path for error in refused.value.errors] == ["setup.cfg"]


def test_references_that_double_each_time(tmp_path: Path) -> None:
    lines = [f"a{n} = %(a{n + 1})s" + f"%(a{n + 1})s" * 30 for n in range(9)]
    cfg = "\n".join(["[options]", "tests_require = %(a0)s", *lines, "a9 = x", ""])
    with pytest.raises(InvalidRequest, match="longer than"):
        pip_calls(tmp_path, {"setup.py": "", "setup.cfg": cfg})


def test_files_that_are_named_again_and_again(tmp_path: Path) -> None:
    text = f"[options.extras_require]\ntest = file: {','.join(['big.txt'] * 20_000)}\n"
    with pytest.raises(InvalidRequest, match=r"setup.cfg is not valid: it names more than 200 files"):
        pip_calls(tmp_path, {"setup.cfg": text, "big.txt": "a\n" * 10_000})
