"""Tables fit the window; what goes to a pipe is whole."""

from collections.abc import Callable
from typing import Any

import pytest

from ci_cli.tables.differences import difference_table
from ci_cli.tables.fitting import Column, Cut, details, table
from ci_cli.tables.jobs import artifact_table, job_details, job_table
from ci_cli.tables.kept import cache_table, environment_table, pool_table
from ci_cli.tables.settings import settings_table
from ci_cli.tables.tests import flaky_table, history_table, other_table, slow_table
from ci_client.formatting import text_width
from ci_client.records import Difference

TIME = "2026-11-29T08:30:00Z"
LONG = "a-long-name-of-something/" * 6
JOB: dict[str, Any] = {
    "job_id": "01988e5c-7a3b-7000-8000-0123456789ab",
    "status": "completed",
    "conclusion": "succeeded",
    "submit_time": TIME,
    "start_time": TIME,
    "end_time": "2026-11-29T08:43:20Z",
    "project": "wörter-中文",
    "image": f"registry.example.org/{LONG}python:3.12",
    "attempt": 2,
    "max_attempts": 3,
    "log_sha256": "0123456789abcdef" * 4,
    "error": "it could not be run, because " + "the engine said something long; " * 5,
}
ARTIFACT = {"path": f"{LONG}report.xml", "size": 123456, "content_type": "text/xml; charset=utf-8", "expires": TIME} | {
    "sha256": "f" * 64
}
TEST = {"selector": f"{LONG}test_words.py::test_one", "class_name": "", "suite": "", "name": "test_one"} | {
    "file": f"{LONG}test_words.py",
    "line": 12,
    "status": "failed",
    "seconds": 1.5,
    "seconds_before": 1.25,
    "message": "assert " + "1 == 2 or " * 20,
}
PAST = {"job_id": JOB["job_id"], "submit_time": TIME, "status": "failed", "flaky": True, "seconds": 1.5}
ENVIRONMENT = {"key": "a" * 64, "last_used": TIME, "created": TIME, "bytes": 123456789, "seconds": 75.0} | {
    "project": "words",
    "image": JOB["image"],
    "setup": "pip install -r requirements.txt\n" * 5,
}
CACHE = {"id": "0123456789abcdef", "last_used": TIME, "created": TIME, "bytes": 123456789, "files": 12345} | {
    "project": "words",
    "path": f"/root/{LONG}pip",
    "key": f"pip-{LONG}",
}
PROFILE = {"kind": "0123456789abcdef", "waiting": 2, "starting": 1, "wanted": 3, "last_used": TIME} | {
    "image": JOB["image"],
    "limits": {"cpus": 1.5, "memory": 512 * 1024**2, "pids": 1024},
    "network": False,
}
POOL = {"size": 8, "per_key": 4, "waiting": 2, "held_back": "the machine has no memory for more", "kinds": [PROFILE]}

SETUP = " ".join(["pip install -r requirements.txt"] * 5)
TABLES: dict[str, tuple[Callable[..., str], Any, str, list[str]]] = {
    "list": (job_table, [JOB], "01988e5c-7a3b", [JOB["job_id"], JOB["image"]]),
    "status": (job_details, JOB, JOB["job_id"][:13], [JOB["error"].strip(), JOB["log_sha256"], JOB["image"]]),
    "artifacts": (artifact_table, [ARTIFACT], "report.xml", [ARTIFACT["path"], ARTIFACT["sha256"], "text/xml"]),
    "tests --slow": (slow_table, [TEST], "::test_one", [TEST["selector"], "1.25 s"]),
    "tests --flaky": (flaky_table, [TEST], "_one", [TEST["selector"], f"{TEST['file']}:12", TEST["message"].strip()]),
    "tests --search": (other_table, [TEST], "::test_one", [TEST["selector"]]),
    "tests --history": (history_table, [{"test": TEST, "history": [PAST]}], "01988e5c-7a3b", [JOB["job_id"]]),
    "env list": (environment_table, [ENVIRONMENT], "a" * 12, [ENVIRONMENT["key"], SETUP]),
    "cache list": (cache_table, [CACHE], "0123456789abcdef", [CACHE["path"], CACHE["key"], "12345"]),
    "list --pool": (pool_table, POOL, "0123456789abcdef", [JOB["image"], "pids=1024, no network"]),
}  # fmt: skip


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("name", TABLES)
def test_every_line_fits_the_window(name: str, width: int) -> None:
    function, things, kept, _ = TABLES[name]
    shown = function(things, width=width)
    assert max(map(text_width, shown.splitlines())) <= width, shown
    assert kept in shown


@pytest.mark.parametrize("name", TABLES)
def test_nothing_is_cut_in_a_pipe(name: str) -> None:
    function, things, _, whole = TABLES[name]
    shown = function(things)
    assert "…" not in shown
    assert [part for part in whole if part not in shown] == []


WORD = Column("WORD", str, cut=Cut.END)
PATH = Column("PATH", lambda word: f"/{word}/end", cut=Cut.BEGINNING)
LENGTH = Column("LENGTH", lambda word: str(len(word)), right=True, spare=1)


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (None, ["WORD          PATH               LENGTH", "abcdefghijkl  /abcdefghijkl/end      12"]),
        (37, ["WORD          PATH             LENGTH", "abcdefghijkl  …cdefghijkl/end      12"]),
        (35, ["WORD          PATH", "abcdefghijkl  /abcdefghijkl/end"]),
        (29, ["WORD          PATH", "abcdefghijkl  …cdefghijkl/end"]),
        (16, ["WORD     PATH", "abcdef…  …kl/end"]),
    ],
)
def test_columns_are_cut_and_then_left_out(width: int | None, expected: list[str]) -> None:
    assert table((WORD, PATH, LENGTH), ["abcdefghijkl"], width=width).splitlines() == expected


def test_characters_that_take_two_columns_are_counted() -> None:
    shown = table((WORD, LENGTH), ["中文" * 10, "plain"], width=23)
    assert shown.splitlines() == ["WORD             LENGTH", "中文中文中文中…      20", "plain                 5"]


def test_long_values_go_on_below_their_beginning() -> None:
    shown = details([("name:", "a value of several words"), ("x:", "one")], width=28)
    assert shown.splitlines() == ["name:  a value of several", "       words", "x:     one"]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_settings_and_differences_fit_the_window(width: int) -> None:
    rows = [
        {
            "setting": "CI_ARTIFACTS_MAX_BYTES",
            "value": 10,
            "default": "x" * 50,
            "unit": "bytes",
            "meaning": "what " * 40,
        },
        {"setting": "PORT", "value": None, "default": 8000, "unit": None, "meaning": "größe"},
    ]
    found = [
        Difference("request", "steps", [{"run": "echo a"}] * 9, "y" * 200),
        Difference("used", "peak_memory", 1, 2),
    ]
    for text in (settings_table(rows, str, width=width), difference_table(found, width=width)):
        assert max(text_width(line) for line in text.splitlines()) <= width
    for whole in (settings_table(rows, str), " ".join(settings_table(rows, str, width=width).split())):
        assert "x" * 50 in whole
        assert ("what " * 40).strip() in whole
