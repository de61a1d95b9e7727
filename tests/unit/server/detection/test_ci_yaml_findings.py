"""All that is wrong in a `ci.yaml`, each with its line and column."""

import pytest

from ci_server.detection.ci_yaml import read_text


def found_in(text: str) -> list[tuple[int, int, str]]:
    return [(found.line, found.column, found.path) for found in read_text(text).findings]


def test_every_error_has_its_place() -> None:
    text = """\
image: python:3.12-slim
imge: x
steps:
  - run: make
    iff: always
  - name: nothing
limits:
  memory: much
timeout: soon
env:
  1A: x
"""
    assert found_in(text) == [
        (2, 1, "imge"),
        (5, 5, "steps.0.iff"),
        (6, 5, "steps.1.run"),
        (8, 11, "limits.memory"),
        (9, 10, "timeout"),
        (11, 3, "env"),
    ]


def test_duplicates_and_wrong_fields_are_found_together() -> None:
    text = "timeout: 1m\nsteps: [make]\ntimeout: 2m\nlabls: {a: b}\nenv: &x {A: 1}\nlabels: *x\n"
    assert found_in(text) == [(3, 1, "timeout"), (4, 1, "labls"), (6, 9, "labels")]


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("steps:\n\t- make\n", 2, 1, "a tab is no indentation in YAML: write spaces"),
        ("steps:\n  - run: echo a: b\n", 2, 16, "in quotes, or below | on lines of its own"),
        ("steps:\n  - run: a\n   name: b\n", 3, 4, "begin in the same column"),
        ("- make\n", 1, 1, "not a mapping of fields"),
    ],
)
def test_what_is_not_yaml_is_explained(text: str, line: int, column: int, message: str) -> None:
    (found,) = read_text(text).findings
    assert (found.line, found.column) == (line, column), found
    assert message in found.message


def test_a_name_that_is_misspelt_is_met_with_the_right_one() -> None:
    (found,) = read_text("steps: [{run: a, workingdirectory: b}]").findings
    assert "did you mean working_directory?" in found.message
