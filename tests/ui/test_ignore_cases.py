"""The ignore rules of the page are those of the command."""

import json

from tests.ui.ignore_cases import TABLE, as_json


def test_the_table_of_cases_is_what_the_command_decides() -> None:
    # The linter of the page lays the file out in its own way.
    assert json.loads(TABLE.read_text()) == json.loads(as_json()), "run `python -m tests.ui.ignore_cases`"
