"""Running again only the tests that failed: how their runners are told which."""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ci_client.errors import EX_USAGE, ClientError

MOST_BYTES = 100 * 1024
"""Of the variable that names the tests; Linux takes 128 KiB."""
_GO_TEST = re.compile(r"(?:Test|Example|Fuzz)[\w]*")
_JAVA_CLASS = re.compile(r"(?:[a-z_][\w]*\.)*[A-Z][\w$]*")


class CannotSelect(ClientError):
    """The tests cannot be run by themselves. The message says why."""

    exit_status = EX_USAGE


def selection(
    tests: Sequence[Mapping[str, Any]], files: Sequence[Mapping[str, Any]], *, exists: Callable[[str], bool]
) -> dict[str, str]:
    """Return the variables of a job that has its runner run only these tests.

    `tests` are those that failed, as `GET /jobs/{id}/tests` lists them, and `files` the reports they are from, as in
    `GET /jobs/{id}/reports`. `exists` says whether the project still has a file. Raises CannotSelect.
    """
    if not tests:
        raise CannotSelect("no test failed, so there is nothing to run again")
    for choose in (_pytest, _go, _maven):
        if (variables := choose(tests, files, exists)) is not None:
            for name, value in variables.items():
                if len(value.encode()) > MOST_BYTES:
                    raise CannotSelect(f"{len(tests)} tests failed, too many to be named in {name}; run all of them")
            return variables
    raise CannotSelect(
        "only tests run by pytest, `go test` and Maven can be chosen from outside, and these were not all run by one "
        "of them; name the tests in a command, as in: ci run -- npx jest path/of/a.test.js"
    )


def _pytest(
    tests: Sequence[Mapping[str, Any]], _files: Sequence[Mapping[str, Any]], exists: Callable[[str], bool]
) -> dict[str, str] | None:
    if not all(test["selector"] for test in tests):
        return None
    ids = list(dict.fromkeys(test["selector"] for test in tests if exists(test["selector"].partition("::")[0])))
    if not ids:
        raise CannotSelect("the files of all tests that failed are gone, so there is nothing to run again")
    return {"PYTEST_ADDOPTS": shlex.join(ids)}


def _go(
    tests: Sequence[Mapping[str, Any]], _files: Sequence[Mapping[str, Any]], _exists: Callable[[str], bool]
) -> dict[str, str] | None:
    names = [test["name"].partition("/")[0] for test in tests]
    are_packages = all(test["suite"] and "/" in f"{test['suite']}/{test['class_name']}" for test in tests)
    if not are_packages or not all(_GO_TEST.fullmatch(name) for name in names):
        return None
    if any(_JAVA_CLASS.fullmatch(test["class_name"]) for test in tests):
        return None
    return {"GOFLAGS": f"-run=^({'|'.join(sorted(set(names)))})$"}


def _maven(
    tests: Sequence[Mapping[str, Any]], files: Sequence[Mapping[str, Any]], _exists: Callable[[str], bool]
) -> dict[str, str] | None:
    by_maven = [file["path"] for file in files if "surefire-reports" in file["path"]]
    if not by_maven or not all(_JAVA_CLASS.fullmatch(test["class_name"]) for test in tests):
        return None
    methods: dict[str, set[str]] = {}
    for test in tests:
        method = re.split(r"[^\w$]", test["name"])[0]
        methods.setdefault(test["class_name"], set()).add(method or "*")
    chosen = [f"{name}#{'+'.join(sorted(of_class))}" for name, of_class in sorted(methods.items())]
    return {"MAVEN_ARGS": f"-Dtest={','.join(chosen)} -Dsurefire.failIfNoSpecifiedTests=false"}
