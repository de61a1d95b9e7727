"""The JSON Schemas that the package has as files, which `make docs` writes."""

import json
from functools import cache
from importlib import resources
from typing import Any


def schema_text(name: str) -> str:
    """Return the schema `spec` or `events`, as the package has it."""
    return resources.files(__package__).joinpath(f"{name}.schema.json").read_text("utf-8")


@cache
def packaged_schema(name: str) -> dict[str, Any]:
    """Return the schema `spec` or `events`. The caller must not change it."""
    found: dict[str, Any] = json.loads(schema_text(name))
    return found
