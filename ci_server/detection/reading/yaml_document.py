"""A strict subset of YAML 1.2 as plain data: scalars keep their text, and what is refused is told with its position."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml
from yaml import events
from yaml.reader import Reader

from ci_common.parsing.models import MAX_ERRORS, Place
from ci_common.parsing.text import printable, shown
from ci_common.parsing.values import Plain

_MAX_DEPTH: Final = 64
_SHORT: Final = 16 * 1024
"""Characters up to which PyYAML's parser in Python is fast enough."""
_CORE: Final = "tag:yaml.org,2002:"
_NO_KEY: Final = object()
_LOADER: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


class YamlError(ValueError):
    """The text is not YAML, or uses a feature that is refused. `str()` begins with line and column."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(f"line {line}, column {column}: {message}")
        self.line, self.column, self.message = line, column, message
        self.place: Place = ()
        """Which value is wrong; empty if it is the whole document, or not known."""


def load_yaml(text: str) -> Any:
    """Return the only document in `text`, or None if there is none. Raises YamlError."""
    document = read_yaml(text)
    if document.problems:
        raise document.problems[0]
    return document.content


def locate(text: str, places: Sequence[Place]) -> list[str]:
    """Return line and column of each place in the valid document `text`, or of the innermost part that exists."""
    document = read_yaml(text, frozenset(place[:end] for place in places for end in range(1, len(place) + 1)))
    return ["line {}, column {}".format(*document.position(place)) for place in places]


def read_yaml(text: str, wanted: frozenset[Place] = frozenset()) -> "YamlDocument":
    """Return the document in `text`, which notes the positions of the places in `wanted`. Raises YamlError."""
    try:
        return YamlDocument(text, _LOADER, wanted)
    except YamlError as exc:
        if "escape" not in str(exc) or len(text) > _SHORT:
            raise
        # libyaml stops at an escape of half a surrogate pair; the other parser accepts it, so its field is known.
        return YamlDocument(text, yaml.SafeLoader, wanted)


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


class YamlDocument:
    """Builds a document from its events, and notes the positions of some places in it."""

    def __init__(self, text: str, loader: Any, wanted: frozenset[Place]) -> None:
        self._wanted = wanted
        self._marks: dict[Place, Any] = {}
        self._names: dict[Place, Any] = {}
        self._open: list[_Open] = []
        self._documents: list[Any] = []
        self.problems: list[YamlError] = []
        """What is refused, although the rest of the document can be read."""
        try:
            self._read(text, loader)
        except YamlError as exc:
            if self.problems:
                return  # The first of them may be why the rest cannot be read.
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
                    self._refuse(event, "aliases are not supported; write the value again")
                    self._add(Plain(""), event)
                case events.ScalarEvent():
                    self._add(self._scalar(event), event)
                case events.SequenceStartEvent():
                    self._begin([], "seq", event)
                case events.MappingStartEvent():
                    self._begin({}, "map", event)
                case events.SequenceEndEvent() | events.MappingEndEvent():
                    self._open.pop()
                    if self._open:
                        self._open[-1].go_on()

    def _refuse(self, event: Any, message: str) -> None:
        if len(self.problems) < MAX_ERRORS:
            problem = _refusal(event, message)
            problem.place = tuple(self._place())
            self.problems.append(problem)

    def position(self, place: Place, *, of_name: bool = False) -> tuple[int, int]:
        """Return line and column, from 1, of a place, or of the innermost existing part that would contain it.

        With `of_name`, those of the field's name, not of its value.
        """
        if of_name and (mark := self._names.get(place)) is not None:
            return mark.line + 1, mark.column + 1
        for end in range(len(place), 0, -1):
            if (mark := self._marks.get(place[:end])) is not None:
                return mark.line + 1, mark.column + 1
        return 1, 1

    def _begin(self, container: Any, kind: str, event: Any) -> None:
        if event.tag not in (None, "!", _CORE + kind):
            self._refuse(event, _unknown_tag(event.tag))
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
            self._begin_value(inner, value, event)
            return
        else:
            inner.container[inner.key] = value
        self._note(self._marks, event)
        if not isinstance(value, dict | list):
            inner.go_on()

    def _begin_value(self, inner: _Open, key: Any, event: Any) -> None:
        if not isinstance(key, str):
            raise _refusal(event, "a key has to be text, not a list or a mapping")
        if isinstance(key, Plain) and key == "<<":
            raise _refusal(event, "merge keys are not supported; write the fields again")
        inner.key = str(key)
        if key in inner.container:
            self._refuse(event, f"the key {shown(key)} is given twice; keep one of them")
        self._note(self._names, event)

    def _note(self, marks: dict[Place, Any], event: Any) -> None:
        if self._wanted:
            place = tuple(self._place())
            if place in self._wanted:
                marks[place] = event.start_mark

    def _place(self) -> Iterator[int | str]:
        for inner in self._open:
            if isinstance(inner.container, list):
                yield inner.count
            elif inner.key is not _NO_KEY:
                yield inner.key

    def _scalar(self, event: Any) -> str:
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
            self._refuse(event, _unknown_tag(tag))
        elif not fits[tag]:
            self._refuse(event, f"{shown(value)} does not fit its tag !!{tag.removeprefix(_CORE)}")
        return plain


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
        line, column = (mark.line, mark.column) if mark else (0, 0)
        raise YamlError(line + 1, column + 1, message + _advice(text, line, column, message)) from exc
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise YamlError(1, 1, str(exc) or "it is nested too deeply") from exc


def _advice(text: str, line: int, column: int, message: str) -> str:
    """Return what would be right where a parser of YAML has stopped."""
    rest = text.split("\n")[line : line + 1]
    character = rest[0][column : column + 1] if rest else ""
    if character == "\t":
        return "; a tab is no indentation in YAML: write spaces"
    if "cannot start any token" in message:
        return f"; write text that begins with {printable(character)} in quotes"
    if "mapping values are not allowed" in message:
        return "; write text with a colon and a space in quotes, or below | on lines of its own"
    if "did not find expected" in message or "expected <block end>" in message:
        return "; fields of one mapping, and items of one list, begin in the same column"
    return ""


def _unknown_tag(tag: str) -> str:
    name = tag.replace(_CORE, "!!", 1)
    return f"the tag {printable(name)} is not supported; write the value without it"


def _refusal(event: Any, message: str) -> YamlError:
    return YamlError(event.start_mark.line + 1, event.start_mark.column + 1, message)
