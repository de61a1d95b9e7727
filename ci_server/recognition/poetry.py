"""Poetry's own notation for dependencies, which Pipenv shares, as requirements that pip takes (PEP 508)."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_CARET_OR_TILDE = re.compile(r"(\^|~)(?!=)\s*v?(\d+(?:\.\d+)*)(\S*)")
_COMPARISON = re.compile(r"(===|==|!=|>=|<=|~=|>|<|=)\s*(\S+)")


def poetry_requirements(table: Mapping[str, Any]) -> list[str]:
    """Return the requirements that a table of dependencies by name stands for.

    What only a directory holds, and a version that is one of several ranges, is more than a requirement can say: the
    first is left out, the second is taken as any version.
    """
    return [
        requirement
        for name, value in table.items()
        if name.lower() != "python"
        for entry in (value if isinstance(value, list) else [value])
        for requirement in _requirement(name, entry)
    ]


def _requirement(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield name + specifier(value)
    elif isinstance(value, dict) and not {"path", "file"} & value.keys():
        extras = value.get("extras")
        full_name = f"{name}[{','.join(map(str, extras))}]" if isinstance(extras, list) and extras else name
        markers = " and ".join(_markers(value))
        yield full_name + _version(value) + (f" ; {markers}" if markers else "")


def _version(value: Mapping[str, Any]) -> str:
    if "url" in value:
        return f" @ {value['url']}"
    if "git" in value:
        revision = next((f"@{value[key]}" for key in ("rev", "ref", "tag", "branch") if key in value), "")
        return f" @ git+{value['git']}{revision}"
    return specifier(str(value.get("version", "*")))


def _markers(value: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(value.get("markers"), str):
        yield f"({value['markers']})"
    for part in specifier(str(value.get("python", "*"))).split(","):
        if comparison := _COMPARISON.fullmatch(part):
            yield f"python_full_version {comparison[1]} '{comparison[2]}'"


def specifier(constraint: str) -> str:
    """Return a constraint such as `^1.2` as a version specifier (PEP 440); empty for any version."""
    if "|" in constraint:
        return ""
    parts = re.sub(r"(===|[<>=!~]=?|\^)\s+", r"\1", constraint).replace(",", " ").split()
    return ",".join(piece for part in parts for piece in _specifiers(part))


def _specifiers(part: str) -> Iterator[str]:
    if part == "*":
        return
    if near := _CARET_OR_TILDE.fullmatch(part):
        numbers = [int(number) for number in near[2].split(".")]
        yield f">={near[2]}{near[3]}"
        yield f"<{_above(numbers, caret=near[1] == '^')}"
    elif comparison := _COMPARISON.fullmatch(part):
        yield ("==" if comparison[1] == "=" else comparison[1]) + comparison[2]
    else:
        yield f"=={part}"


def _above(numbers: list[int], *, caret: bool) -> str:
    """Return the first version that is not near: `^` keeps the first number that is not 0, `~` the first two."""
    kept = min(1, len(numbers) - 1)
    if caret:
        kept = next((place for place, number in enumerate(numbers) if number), len(numbers) - 1)
    return ".".join(map(str, [*numbers[:kept], numbers[kept] + 1]))
