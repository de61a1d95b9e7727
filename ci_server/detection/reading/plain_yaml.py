"""YAML as plain data: text as written, no aliases, which can make a small file a huge document, and no key given twice.

Scalars without quotes are `Plain`: text that knows what YAML 1.2's core schema reads in it. Everything else is text, as
keys are. It is built from PyYAML's events, since its own constructors change text, and fail in ways of their own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml
from yaml import events
from yaml.reader import Reader

from ci_common.parsing.models import Place
from ci_common.parsing.text import printable, shown
from ci_common.parsing.values import Plain

_MAX_DEPTH: Final = 64
_SHORT: Final = 16 * 1024
"""Characters that PyYAML's own parser, in Python, reads in a moment."""
_CORE: Final = "tag:yaml.org,2002:"
_NO_KEY: Final = object()
_LOADER: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


class NotPlain(ValueError):
    """The text is no YAML, or uses more of it than is taken. `str()` begins with line and column."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(f"line {line}, column {column}: {message}")
        self.place: Place = ()
        """Which value is at fault; nothing where it is the whole document, or not known."""


def load_plain(text: str) -> Any:
    """Return what the one document in `text` holds, None where there is none. Raises NotPlain."""
    return _read(text).content


def locate(text: str, places: Sequence[Place]) -> list[str]:
    """Return where in `text`, which is valid, each of these places stands, or what is there of it; nothing for all."""
    document = _read(text, frozenset(place[:end] for place in places for end in range(1, len(place) + 1)))
    return [document.found(place) for place in places]


def _read(text: str, wanted: frozenset[Place] = frozenset()) -> "_Document":
    try:
        return _Document(text, _LOADER, wanted)
    except NotPlain as exc:
        if "escape" not in str(exc) or len(text) > _SHORT:
            raise
        # libyaml stops at an escape of half a surrogate pair; the other parser takes it, so that its field is known.
        return _Document(text, yaml.SafeLoader, wanted)


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come yet."""

    container: Any
    key: Any = _NO_KEY
    """Of a mapping, the key whose value comes next."""
    count: int = 0
    """Of a list, the number of the item that comes next."""

    def go_on(self) -> None:
        """Note that a value has come, with all that is in it."""
        self.key = _NO_KEY
        self.count += 1


class _Document:
    """Builds a document from its events, and notes where some places of it stand."""

    def __init__(self, text: str, loader: Any, wanted: frozenset[Place]) -> None:
        self._wanted = wanted
        self._marks: dict[Place, Any] = {}
        self._open: list[_Open] = []
        self._documents: list[Any] = []
        try:
            self._read(text, loader)
        except NotPlain as exc:
            exc.place = tuple(self._place())
            raise

    @property
    def content(self) -> Any:
        """What the document holds, None where there is none."""
        return self._documents[0] if self._documents else None

    def _read(self, text: str, loader: Any) -> None:
        for event in _events(text, loader):
            match event:
                case events.AliasEvent():
                    raise _refusal(event, "aliases are not taken")
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
        """Return line and column of a place, or of the innermost that is there around it."""
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
                raise _refusal(event, "a second document begins here; there has to be a single document")
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
        raise NotPlain(before.count("\n") + 1, column, f"the character {printable(found[0])} is not allowed in YAML")
    try:
        yield from yaml.parse(text, Loader=loader)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        message = ", ".join(part for part in (exc.context, exc.problem) if part)
        raise NotPlain(mark.line + 1 if mark else 1, mark.column + 1 if mark else 1, message) from exc
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise NotPlain(1, 1, str(exc) or "it is nested too deeply") from exc


def _key(value: Any, mapping: dict[str, Any], event: Any) -> str:
    if not isinstance(value, str):
        raise _refusal(event, "a key has to be text, not a list or a mapping")
    if isinstance(value, Plain) and value == "<<":
        raise _refusal(event, "merge keys are not taken; write the fields out")
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


def _unknown_tag(event: Any) -> NotPlain:
    name = event.tag.replace(_CORE, "!!", 1)
    return _refusal(event, f"the tag {printable(name)} is not taken here; write the value without it")


def _refusal(event: Any, message: str) -> NotPlain:
    return NotPlain(event.start_mark.line + 1, event.start_mark.column + 1, message)
