"""What is told of a job that failed."""

from typing import Any

import pytest

from ci_cli.display.failure import failure_lines, step_range
from ci_client.aio import CiClient
from ci_client.logs.excerpts import lines_that_matter


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("a\nE   assert 1\nFAILED t.py::a - assert 1\n1 failed\n", ["FAILED t.py::a - assert 1"]),
        ("ok\n    --- FAIL: TestA (0.0s)\n        a_test.go:3: no\n", ["--- FAIL: TestA (0.0s)"]),
        ("test a::b ... FAILED\ntest a::c ... ok\n", ["test a::b ... FAILED"]),
        ("ok 1 - a\nnot ok 2 - b\n", ["not ok 2 - b"]),
        ("x.c:3:1: error: no such thing\nmake: *** [x] Error 1\n", ["x.c:3:1: error: no such thing"]),
        ("Traceback (most recent call last):\n  File\nValueError: no\n", ["ValueError: no"]),
        ("sh: 1: pytst: not found\n", ["sh: 1: pytst: not found"]),
    ],
)
def test_the_lines_that_matter(log: str, expected: list[str]) -> None:
    filler = "compiling\n" * 100
    found = [line.text.strip() for line in lines_that_matter(f"{log}{filler}".encode())]
    assert set(expected) <= set(found)


@pytest.mark.parametrize(
    "passed", ["t.py::a PASSED", "t.py::a PASSED   [ 50%]", "ok 1 - a", "test a::c ... ok", "✓ adds numbers (2 ms)"]
)
def test_tests_that_passed_at_the_end_are_left_out_where_an_error_is_told(passed: str) -> None:
    found = lines_that_matter(f"{passed}\n{passed}\nE   assert 1 == 2\n{passed}\n".encode())
    assert [line.text for line in found] == ["E   assert 1 == 2"]
    found = lines_that_matter(f"starting\n{passed}\n".encode())
    assert [line.text for line in found] == ["starting", passed]


async def test_failed_tests_come_with_place_and_message(monkeypatch: pytest.MonkeyPatch) -> None:
    async def tests(self: CiClient, job_id: str, **asked: Any) -> list[dict[str, Any]]:
        assert asked["status"] == "failed"
        case = {"class_name": "tests.test_a", "name": "test_b", "file": "tests/test_a.py", "line": 7, "flaky": True}
        return [case | {"message": "assert 1 == 2\nmore"}]

    monkeypatch.setattr(CiClient, "tests", tests)
    async with CiClient("http://localhost:9") as client:
        lines = await failure_lines(client, {"job_id": "x", "tests": {"failed": 1}})
    assert lines == ["1 test failed:", "  tests/test_a.py:7: tests.test_a test_b (flaky)", "      assert 1 == 2"]


def test_the_output_of_a_step_ends_where_the_next_begins() -> None:
    job = {"log_bytes": 30, "steps": [{"log_offset": 0}, {"log_offset": 10}]}
    assert [step_range(job, step) for step in job["steps"]] == [(0, 10), (10, 30)]  # type: ignore[attr-defined]
