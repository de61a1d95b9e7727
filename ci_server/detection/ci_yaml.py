"""Reads `ci.yaml` into a `Spec`, or says all that is wrong with it, and where."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from ci_common.errors import FieldError, InvalidRequest
from ci_common.parsing.models import Place, explained, invalid, path_of
from ci_common.parsing.values import Plain
from ci_common.run_directory.untrusted_files import read_capped
from ci_common.spec import Spec
from ci_server.detection.reading.yaml_document import YamlError, read_yaml

NAME: Final = "ci.yaml"
_MAX_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong in a `ci.yaml`, and where: line and column from 1, and the dotted path of the field."""

    line: int
    column: int
    path: str
    message: str
    is_yaml: bool = True
    """Whether the file is YAML here, and only says what it may not."""

    @property
    def where(self) -> str:
        """The position, for people."""
        return f"line {self.line}, column {self.column}"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text says as a `ci.yaml`: a spec, or all that is wrong with it."""

    spec: Spec | None
    findings: tuple[Finding, ...] = ()
    count: int = 0
    """How much is wrong, of which `findings` are the first."""


def read_ci_yaml(directory: Path, *, root: Path) -> Spec | None:
    """Return the contents of the `ci.yaml` in `directory`, or None if there is none.

    A link is followed only to a file below `root`. Raises InvalidRequest with the path of each wrong field.
    """
    path = directory / NAME
    if not os.path.lexists(path):
        return None
    real = Path(os.path.realpath(path))  # Unlike `resolve`, it accepts links that lead in a circle.
    raw = read_capped(real, _MAX_BYTES + 1) if real.is_relative_to(root.resolve()) else None
    if raw is None:
        raise _invalid("it is not a file of the project")
    reading = read_text(decoded(raw))
    if reading.spec is not None:
        return reading.spec
    errors = [FieldError(found.path or NAME, f"{found.message} ({found.where})") for found in reading.findings]
    broken = next((found for found in reading.findings if not found.is_yaml), None)
    if broken is None:
        raise invalid(NAME, *errors, count=reading.count)
    raise InvalidRequest(f"{NAME} cannot be used: it is not valid YAML: {broken.where}: {broken.message}", *errors)


def decoded(raw: bytes) -> str:
    """Return the text of a `ci.yaml`. Raises InvalidRequest if it is too long or not UTF-8."""
    if len(raw) > _MAX_BYTES:
        raise _invalid(f"it is longer than {_MAX_BYTES} bytes")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise _invalid(f"it is not UTF-8: {exc.reason} at byte {exc.start}") from exc


def read_text(text: str) -> Reading:
    """Return what `text` says as a `ci.yaml`. Where it is not YAML, its fields are looked at as far as it can be."""
    try:
        document = read_yaml(text)
    except YamlError as exc:
        return Reading(None, (_finding(exc),), count=1)
    found = [_finding(problem) for problem in document.problems]
    content = document.content
    if content is None or (isinstance(content, Plain) and content.is_null):
        content = {}
    if not isinstance(content, dict):
        mapping = Finding(1, 1, NAME, "it is not a mapping of fields, as in `image: python:3.12-slim`")
        return Reading(None, (*found, mapping), count=1 + len(found))
    try:
        spec = Spec.model_validate(content)
    except ValidationError as exc:
        wrong = _wrong_fields(text, exc, [problem.place for problem in document.problems])
        count = exc.error_count() + len(found)
    else:
        if not found:
            return Reading(spec)
        wrong, count = [], len(found)
    both = sorted([*found, *wrong], key=lambda one: (one.line, one.column))
    return Reading(None, tuple(both), count=count)


def _wrong_fields(text: str, exc: ValidationError, known: list[Place]) -> list[Finding]:
    """Return the wrong fields, without those that are a consequence of `known`."""
    wrong = [
        (place, message) for place, message in explained(Spec, exc)
        if not any(place[: len(other)] == other for other in known if other)
    ]  # fmt: skip
    document = read_yaml(text, frozenset(place[:end] for place, _ in wrong for end in range(1, len(place) + 1)))
    found = []
    for place, message in wrong:
        line, column = document.position(place, of_name=message.startswith("unknown field"))
        found.append(Finding(line, column, path_of(place), message))
    return found


def _finding(problem: YamlError) -> Finding:
    return Finding(problem.line, problem.column, path_of(problem.place), problem.message, is_yaml=False)


def _invalid(message: str, path: str = "") -> InvalidRequest:
    return InvalidRequest(f"{NAME} cannot be used: {message}", FieldError(path or NAME, message))
