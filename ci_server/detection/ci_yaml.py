"""Reads `ci.yaml` into a `Spec`: a strict subset of YAML 1.2, whose scalars keep their text."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import yaml
from yaml import events
from yaml.reader import Reader

from ci_common.errors import FieldError, InvalidRequest
from ci_common.parsing.models import Place, path_of, validated
from ci_common.parsing.text import printable, shown
from ci_common.parsing.values import Plain
from ci_common.run_directory.layout import read_capped
from ci_common.spec import Spec

NAME = "ci.yaml"
_MAX_BYTES = 256 * 1024
_MAX_DEPTH: Final = 64
_SHORT: Final = 16 * 1024
"""Characters up to which PyYAML's parser in Python is fast enough."""
_CORE: Final = "tag:yaml.org,2002:"
_NO_KEY: Final = object()
_LOADER: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


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
    if len(raw) > _MAX_BYTES:
        raise _invalid(f"it is longer than {_MAX_BYTES} bytes")
    try:
        text = raw.decode("utf-8-sig")
        document = load_yaml(text)
    except UnicodeDecodeError as exc:
        raise _invalid(f"it is not UTF-8: {exc.reason} at byte {exc.start}") from exc
    except YamlError as exc:
        raise _invalid(f"it is not valid YAML: {exc}", path_of(exc.place)) from exc
    if document is None or (isinstance(document, Plain) and document.is_null):
        return Spec()
    if not isinstance(document, dict):
        raise _invalid("it is not a mapping of fields, as in `image: python:3.12-slim`")
    return validated(Spec, document, source=NAME, locate=partial(locate, text))


def _invalid(message: str, path: str = "") -> InvalidRequest:
    return InvalidRequest(f"{NAME} cannot be used: {message}", FieldError(path or NAME, message))


class YamlError(ValueError):
    """The text is not YAML, or uses a feature that is refused. `str()` begins with line and column."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(f"line {line}, column {column}: {message}")
        self.place: Place = ()
        """Which value is wrong; empty if it is the whole document, or not known."""


def load_yaml(text: str) -> Any:
    """Return the only document in `text`, or None if there is none. Raises YamlError."""
    return _read(text).content


def locate(text: str, places: Sequence[Place]) -> list[str]:
    """Return line and column of each place in the valid document `text`, or of the innermost part that exists."""
    document = _read(text, frozenset(place[:end] for place in places for end in range(1, len(place) + 1)))
    return [document.found(place) for place in places]


def _read(text: str, wanted: frozenset[Place] = frozenset()) -> "_Document":
    try:
        return _Document(text, _LOADER, wanted)
    except YamlError as exc:
        if "escape" not in str(exc) or len(text) > _SHORT:
            raise
        # libyaml stops at an escape of half a surrogate pair; the other parser accepts it, so its field is known.
        return _Document(text, yaml.SafeLoader, wanted)


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not been read yet."""

    container: Any
    key: Any = _NO_KEY
    """In a mapping, the key of the next value."""
    count: int = 0
    """In a list, the number of the next item."""

    def go_on(self) -> None:
        """Add a value that has been read completely."""
        self.key = _NO_KEY
        self.count += 1


class _Document:
    """Builds a document from its events, and notes the positions of some places in it."""

    def __init__(self, text: str, loader: Any, wanted: frozenset[Place]) -> None:
        self._wanted = wanted
        self._marks: dict[Place, Any] = {}
        self._open: list[_Open] = []
        self._documents: list[Any] = []
        try:
            self._read(text, loader)
        except YamlError as exc:
            exc.place = tuple(self._place())
            raise

    @property
    def content(self) -> Any:
        """The content of the document; None if there is no document."""
        return self._documents[0] if self._documents else None

    def _read(self, text: str, loader: Any) -> None:
        for event in _events(text, loader):
            match event:
                case events.AliasEvent():
                    raise _refusal(event, "aliases are not supported; write the value again")
                case events.ScalarEvent():
                    self._add(_scalar(event), event)
                case events.SequenceStartEvent():
                    self._begin([], "seq", event)
                case events.MappingStartEvent():
                    self._begin({}, "map", event)
                case events.SequenceEndEvent() | events.MappingEndEvent():
                    self._open.pop()
                    if self._open:
                        self._open[-1].go_on()

    def found(self, place: Place) -> str:
        """Return line and column of a place, or of the innermost existing part that would contain it."""
        for end in range(len(place), 0, -1):
            if (mark := self._marks.get(place[:end])) is not None:
                return f"line {mark.line + 1}, column {mark.column + 1}"
        return ""

    def _begin(self, container: Any, kind: str, event: Any) -> None:
        if event.tag not in (None, "!", _CORE + kind):
            raise _unknown_tag(event)
        if len(self._open) == _MAX_DEPTH:
            raise _refusal(event, f"it is nested more than {_MAX_DEPTH} deep")
        self._add(container, event)
        self._open.append(_Open(container))

    def _add(self, value: Any, event: Any) -> None:
        if not self._open:
            if self._documents:
                raise _refusal(event, "a second document begins here, and only one is allowed")
            self._documents.append(value)
            return
        inner = self._open[-1]
        if isinstance(inner.container, list):
            inner.container.append(value)
        elif inner.key is _NO_KEY:
            inner.key = _key(value, inner.container, event)
            return
        else:
            inner.container[inner.key] = value
        self._note(event)
        if not isinstance(value, dict | list):
            inner.go_on()

    def _note(self, event: Any) -> None:
        if self._wanted:
            place = tuple(self._place())
            if place in self._wanted:
                self._marks[place] = event.start_mark

    def _place(self) -> Iterator[int | str]:
        for inner in self._open:
            if isinstance(inner.container, list):
                yield inner.count
            elif inner.key is not _NO_KEY:
                yield inner.key


def _events(text: str, loader: Any) -> Iterator[Any]:
    if (found := Reader.NON_PRINTABLE.search(text)) is not None:
        before = text[: found.start()]
        column = found.start() - before.rfind("\n")
        raise YamlError(before.count("\n") + 1, column, f"the character {printable(found[0])} is not allowed in YAML")
    try:
        yield from yaml.parse(text, Loader=loader)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        message = ", ".join(part for part in (exc.context, exc.problem) if part)
        raise YamlError(mark.line + 1 if mark else 1, mark.column + 1 if mark else 1, message) from exc
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise YamlError(1, 1, str(exc) or "it is nested too deeply") from exc


def _key(value: Any, mapping: dict[str, Any], event: Any) -> str:
    if not isinstance(value, str):
        raise _refusal(event, "a key has to be text, not a list or a mapping")
    if isinstance(value, Plain) and value == "<<":
        raise _refusal(event, "merge keys are not supported; write the fields again")
    if value in mapping:
        raise _refusal(event, f"the key {shown(value)} is given twice")
    return str(value)


def _scalar(event: Any) -> str:
    value, tag = event.value, event.tag
    if tag is None:
        return Plain(value) if event.implicit[0] else str(value)
    if tag in ("!", f"{_CORE}str"):
        return str(value)
    plain = Plain(value)
    fits = {
        f"{_CORE}null": plain.is_null,
        f"{_CORE}bool": plain.is_boolean,
        f"{_CORE}int": isinstance(plain.number, int),
        f"{_CORE}float": plain.number is not None,
    }
    if tag not in fits:
        raise _unknown_tag(event)
    if not fits[tag]:
        raise _refusal(event, f"{shown(value)} does not fit its tag !!{tag.removeprefix(_CORE)}")
    return plain


def _unknown_tag(event: Any) -> YamlError:
    name = event.tag.replace(_CORE, "!!", 1)
    return _refusal(event, f"the tag {printable(name)} is not supported; write the value without it")


def _refusal(event: Any, message: str) -> YamlError:
    return YamlError(event.start_mark.line + 1, event.start_mark.column + 1, message)
