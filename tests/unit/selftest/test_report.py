"""The table and the JSON of an outcome."""

import json
from collections import Counter
from pathlib import Path

from ci_selftest.jobs.evidence import Promise, Violation
from ci_selftest.report import Outcome


def outcome(*violations: Violation) -> Outcome:
    return Outcome(
        seed=7,
        runtime="process",
        image="an-image",
        seconds=61.0,
        replay="ci selftest --chaos --minutes 1 --seed 7",
        jobs=Counter(succeeded=3, failed=2),
        faults=Counter({"kill API": 4}),
        violations=list(violations),
        kept=Path("/kept") if violations else None,
    )


def test_every_promise_has_its_line_and_its_number() -> None:
    lines = [line.split() for line in outcome(Violation(Promise.RUN_TWICE, "a", "twice")).table().splitlines()]
    for promise in Promise:
        number = "1" if promise is Promise.RUN_TWICE else "0"
        assert [*promise.split(), number] in lines
    assert ["kill", "API", "4"] in lines


def test_what_was_found_is_told_with_where_it_can_be_looked_into() -> None:
    table = outcome(Violation(Promise.LOST, "the-job", "7 bytes at byte 5")).table()
    assert "lost: the-job\n    7 bytes at byte 5" in table
    assert "kept in /kept" in table
    assert "--seed 7" in table
    assert "kept" not in outcome().table()


def test_json_says_the_same() -> None:
    said = json.loads(json.dumps(outcome(Violation(Promise.LOST, "the-job", "7 bytes")).to_json()))
    assert said["broken"] == {str(promise): int(promise is Promise.LOST) for promise in Promise}
    assert said["violations"] == [{"promise": "lost", "subject": "the-job", "detail": "7 bytes"}]
    assert (said["seed"], said["jobs"], said["kept"]) == (7, {"succeeded": 3, "failed": 2}, "/kept")
