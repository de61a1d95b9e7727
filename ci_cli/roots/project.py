"""What `ci validate` and `ci init` do: they read a project as the server would, without one."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci_client.errors import NotWritten, PackingError
from ci_client.packing.scan import scan_directory
from ci_common.errors import FieldError, RequestError
from ci_common.manifests.entries import EXECUTABLE, FOLDER, LINK
from ci_common.parsing.models import Place
from ci_common.settings import Settings
from ci_common.spec import Spec
from ci_server.detection.ci_yaml import NAME, Finding, decoded, read_text
from ci_server.detection.projects import find_project, resolve
from ci_server.detection.reading.yaml_document import read_yaml
from ci_server.detection.writing import SCHEMA_PATH, WrittenProject, written_ci_yaml
from ci_server.openapi.schemas import schema_text

_READ_BYTES = 1024 * 1024
"""Detection reads no longer file."""


@dataclass(frozen=True, slots=True)
class Validation:
    """What is wrong with a `ci.yaml`."""

    file: str
    text: str
    findings: tuple[Finding, ...]
    more: int = 0
    """How many further errors there are."""

    def document(self) -> dict[str, Any]:
        """Return the same as JSON. What is not at a place in the file has the line and column 0."""
        names = ("line", "column", "path", "message")
        errors = [{name: getattr(finding, name) for name in names} for finding in self.findings]
        return {"file": self.file, "valid": not errors, "errors": errors, "more": self.more}

    def lines(self) -> Iterator[str]:
        """Yield the same for people: each error with its place, and the line of the file that it is in."""
        rows = self.text.split("\n")
        for found in self.findings:
            place = f":{found.line}:{found.column}" if found.line else ""
            path = f" {found.path}:" if found.path and found.path != NAME else ""
            yield f"{self.file}{place}:{path} {found.message}"
            row = rows[found.line - 1].rstrip("\r") if 0 < found.line <= len(rows) else ""
            if row.strip() and len(row) < 200:
                begin = row[: found.column - 1].replace("\t", " ")
                yield f"  {found.line:>4} | " + row.replace("\t", " ")
                yield f"       | {' ' * len(begin)}^"
        if self.more:
            yield f"{self.file}: and {self.more} more"


def validate(path: Path) -> Validation:
    """Return what is wrong with a `ci.yaml`, or with that of a directory, which is then held against its files.

    Raises PackingError for a directory that could not be sent, or has no `ci.yaml`.
    """
    if not path.is_dir():
        return _validated_text(str(path), _read(path))
    with _as_sent(path) as workspace:
        directory = find_project(workspace)
        file = directory / NAME
        shown = path / directory.relative_to(workspace) / NAME
        if not file.exists():
            raise PackingError(
                f"{shown} would not be sent: .gitignore or .ciignore leaves it out"
                if shown.exists()
                else f"there is no {NAME} in {path}; `ci init` writes one"
            )
        found = _validated_text(str(shown), _read(file))
        return found if found.findings else _held_against_files(found, workspace)


def spec_in(path: Path) -> dict[str, Any]:
    """Return the spec in a file like a `ci.yaml`, in its JSON form. Raises PackingError with all that is wrong."""
    raw = _read(path)
    found = _validated_text(str(path), raw)
    if found.findings:
        raise PackingError("\n".join(found.lines()))
    spec = read_text(decoded(raw)).spec or Spec()
    return spec.model_dump(mode="json", exclude_unset=True)


def _validated_text(name: str, raw: bytes) -> Validation:
    try:
        text = decoded(raw)
    except RequestError as exc:
        return Validation(name, "", (Finding(0, 0, NAME, exc.errors[0].message),))
    reading = read_text(text)
    return Validation(name, text, reading.findings, max(0, reading.count - len(reading.findings)))


def _held_against_files(found: Validation, workspace: Path) -> Validation:
    """Return what only shows beside the files of the project, such as inputs that are not there."""
    try:
        resolve(workspace, Spec(), Settings.from_env())
    except RequestError as exc:
        errors = exc.errors or (FieldError("", str(exc)),)
        return Validation(found.file, found.text, tuple(_at_place(found.text, error) for error in errors))
    return found


def _at_place(text: str, error: FieldError) -> Finding:
    place: Place = tuple(int(part) if part.isdigit() else part for part in error.path.split(".") if part)
    document = read_yaml(text, frozenset(place[:end] for end in range(1, len(place) + 1)))
    is_there = bool(place) and isinstance(document.content, dict) and place[0] in document.content
    line, column = document.position(place) if is_there else (0, 0)
    return Finding(line, column, error.path, error.message)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise PackingError(f"{path} cannot be read: {exc.strerror}") from exc


def write_ci_yaml(path: Path, *, force: bool) -> tuple[WrittenProject, list[Path]]:
    """Write the `ci.yaml` of a directory, and the schema for editors, and return what was written.

    Raises NotWritten, PackingError, and what detection raises.
    """
    if not path.is_dir():
        raise PackingError(f"{path} is not a directory")
    with _as_sent(path, without_own=True) as workspace:
        project = written_ci_yaml(workspace, Settings.from_env())
        directory = path / project.directory.relative_to(workspace)
    file, schema = directory / NAME, directory / SCHEMA_PATH
    if not force and os.path.lexists(file):
        raise NotWritten(f"{file} is there already; --force replaces it")
    try:
        schema.parent.mkdir(exist_ok=True)
        schema.write_text(schema_text("spec"), "utf-8")
        draft = file.with_name(f".{NAME}.new")
        draft.write_text(project.text, "utf-8")
        os.replace(draft, file)
    except OSError as exc:
        raise NotWritten(f"{exc.filename or file} cannot be written: {exc.strerror}") from exc
    return project, [file, schema]


@contextmanager
def _as_sent(path: Path, *, without_own: bool = False) -> Iterator[Path]:
    """Yield a copy of what would be sent of a directory. Files that are too long to be read have their length alone.

    Raises PackingError.
    """
    project = scan_directory(path)
    with tempfile.TemporaryDirectory(prefix="ci-project-") as name:
        root = Path(name)
        for entry in project.entries:
            target = root / entry.path
            if without_own and target.name == NAME and len(target.relative_to(root).parts) <= 2:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if entry.kind == FOLDER:
                target.mkdir(exist_ok=True)
            elif entry.kind == LINK:
                target.symlink_to(entry.target)
            else:
                _copy(path / entry.path, target, entry.size)
                if entry.kind == EXECUTABLE:
                    target.chmod(0o755)
        yield root


def _copy(source: Path, target: Path, size: int) -> None:
    try:
        if size <= _READ_BYTES:
            shutil.copyfile(source, target)
        else:
            with target.open("wb") as file:
                file.truncate(size)
    except OSError as exc:
        raise PackingError(f"{source} cannot be read: {exc.strerror}") from exc
