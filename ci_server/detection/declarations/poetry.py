"""Converts the dependency tables of Poetry and Pipenv to requirements for pip (PEP 508)."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ci_server.detection.reading.requirements import is_identifier, normal_name, strings

_CARET_OR_TILDE = re.compile(r"(\^|~)(?!=)\s*v?(\d{1,18}(?:\.\d{1,18}){0,9})((?![\d.]).*)")
_COMPARISON = re.compile(r"(===|==|!=|>=|<=|~=|>|<|=)\s*(\S+)")
_SCP = re.compile(r"([\w.-]+@[\w.-]+):(?!/)([^:]+)")
_MARKERS = (
    "os_name", "sys_platform", "platform_machine", "platform_system", "platform_python_implementation",
    "python_version", "python_full_version", "implementation_name",
)  # fmt: skip


def poetry_requirements(table: Mapping[str, Any], wanted: Collection[str] | None = None) -> list[str]:
    """Return the requirements in a table of dependencies.

    With `wanted`, return those whose normal names are in it; without, those that are not optional. A choice between
    several version ranges cannot be expressed as a requirement and becomes any version. Dependencies that are
    directories or files come last, as names with extras and markers.
    """
    declared = sorted(_dependencies(table, wanted), key=lambda entry: is_local(entry[1]))
    return [_requirement(name, value) for name, value in declared]


def is_local(value: Any) -> bool:
    """Return whether a dependency is a directory or a file, which cannot be given to pip as an address."""
    if not isinstance(value, dict):
        return False
    if "git" in value:
        return git_address(value) is None
    return "path" in value or ("file" in value and "://" not in str(value["file"]))


def git_address(value: Mapping[str, Any]) -> str | None:
    """Return the address of a Git repository for pip, or None if it is a directory."""
    address = str(value["git"])
    if found := _SCP.fullmatch(address):
        address = f"ssh://{found[1]}/{found[2]}"
    if "://" not in address:
        return None
    revision = next((f"@{value[key]}" for key in ("rev", "ref", "tag", "branch") if key in value), "")
    folder = f"#subdirectory={value['subdirectory']}" if "subdirectory" in value else ""
    return f"git+{address.removeprefix('git+')}{revision}{folder}"


def entries(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the dependencies by name, and those with a list of conditions once for each condition."""
    for name, value in table.items():
        if name.lower() != "python":
            for entry in value if isinstance(value, list) else [value]:
                if isinstance(entry, str | dict):
                    yield name, entry


def _dependencies(table: Mapping[str, Any], wanted: Collection[str] | None) -> Iterator[tuple[str, Any]]:
    for name, value in entries(table):
        optional = isinstance(value, dict) and value.get("optional") is True
        if not optional if wanted is None else normal_name(name) in wanted:
            yield name, value


def _requirement(name: str, value: Any) -> str:
    if isinstance(value, str):
        return name + specifier(value)
    return _full_name(name, value) + ("" if is_local(value) else _version(value)) + _condition(value)


def _full_name(name: str, value: Mapping[str, Any]) -> str:
    extras = [extra for extra in strings(value.get("extras")) if is_identifier(extra)]
    return f"{name}[{','.join(extras)}]" if extras else name


def _version(value: Mapping[str, Any]) -> str:
    address = git_address(value) if "git" in value else value.get("url", value.get("file"))
    return f" @ {address}" if address is not None else specifier(str(value.get("version", "*")))


def _condition(value: Mapping[str, Any]) -> str:
    markers = " and ".join(_markers(value))
    return f" ; {markers}" if markers else ""


def _markers(value: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(value.get("markers"), str):
        yield f"({value['markers']})"
    if isinstance(value.get("platform"), str):
        yield f"sys_platform == '{value['platform']}'"
    for name in _MARKERS:
        if isinstance(value.get(name), str):
            yield f"{name} {value[name]}"
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
    """Return the upper bound: `^` keeps the numbers up to the first that is not 0, `~` keeps the first two."""
    kept = min(1, len(numbers) - 1)
    if caret:
        kept = next((place for place, number in enumerate(numbers) if number), len(numbers) - 1)
    return ".".join(map(str, [*numbers[:kept], numbers[kept] + 1]))
