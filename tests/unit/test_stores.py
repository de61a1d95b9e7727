"""Two databases, one code: counted by scripts/count_stores."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.helpers.installation import ROOT


@pytest.fixture(scope="module")
def counted() -> dict[str, Any]:
    command = [sys.executable, ROOT / "scripts" / "count_stores", "--json"]
    return dict(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def test_no_store_has_more_than_ten_methods(counted: dict[str, Any]) -> None:
    assert len(counted["stores"]) >= 7
    assert {name: methods for name, methods in counted["stores"].items() if methods > 10} == {}


def test_no_type_names_a_database_outside_of_its_package(counted: dict[str, Any]) -> None:
    assert counted["types naming a database outside of ci_persistence"] == []


def test_no_statement_stands_twice(counted: dict[str, Any]) -> None:
    assert counted["statements in several places"] == {}
