"""Translates git's glob patterns into regular expressions that match exactly what git's own matcher matches.

Git matches bytes, so patterns and paths are bytes represented as text (latin-1). The expressions are for `fullmatch`
with `re.DOTALL`, have no capturing groups, and take time proportional to pattern and path. Each `*` is an atomic group,
without backtracking: a later start of the rest of the pattern can never match more.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

_SPECIAL = re.compile(r"[*?\[\\]")
_SPACE = " \t\n\r"
_CLASSES = {
    "alnum": "[0-9A-Za-z]",
    "alpha": "[A-Za-z]",
    "blank": "[ \t]",
    "cntrl": r"[\x00-\x1f\x7f]",
    "digit": "[0-9]",
    "graph": "[!-~]",
    "lower": "[a-z]",
    "print": "[ -~]",
    "punct": r"[!-/:-@\[-`{-~]",
    "space": f"[{_SPACE}]",
    "upper": "[A-Z]",
    "xdigit": "[0-9A-Fa-f]",
}
_MEMBERS = {
    name: frozenset(char for char in map(chr, range(1, 128)) if re.match(expression, char))
    for name, expression in _CLASSES.items()
}
_ALL = frozenset(map(chr, range(1, 256)))


@dataclass(slots=True)
class _Group:
    """Part of a pattern between two `**`: its parts between `*`, as expressions of fixed length."""

    opener: str
    """What precedes it: nothing, `**`, or `**/`."""
    chunks: list[str] = field(default_factory=lambda: [""])


def translate_name(pattern: str) -> str | None:
    """Return the expression for a pattern of a file's name; None if it matches nothing."""
    return _translated(pattern, 0, is_path=False)


def translate_path(pattern: str) -> str | None:
    """Return the expression for a pattern of a whole path; None if it matches nothing.

    In a path, `*`, `?` and sets match no slash, and `**` stands for any number of directories.
    """
    special = _SPECIAL.search(pattern)
    # Git compares the text before the first special character separately, so a `**` after it starts a pattern.
    return _translated(pattern, special.start() if special else len(pattern), is_path=True)


def _translated(pattern: str, begin: int, *, is_path: bool) -> str | None:
    groups = [_Group("")]
    try:
        for part in _tokens(pattern, begin, is_path=is_path):
            if part == "*":
                groups[-1].chunks.append("")
            elif part in ("**", "**/"):
                groups.append(_Group(part))
            else:
                groups[-1].chunks[-1] += part
    except _MatchesNothing:
        return None
    *inner, last = groups
    return "".join([*map(_inner, inner), _last(last)])


def _inner(group: _Group) -> str:
    first, *rest = group.chunks
    text = first + "".join(f"(?>[^/]*?{chunk})" for chunk in rest)
    if group.opener == "**/":
        return f"(?>(?:[^/]*/)*?{text})"
    return f"(?>.*?{text})" if group.opener else text


def _last(group: _Group) -> str:
    first, *rest = group.chunks
    text = first + "".join(f"(?>[^/]*?{chunk})" for chunk in rest[:-1]) + (f"[^/]*{rest[-1]}" if rest else "")
    if group.opener == "**/":
        return f"(?:[^/]*/)*?{text}"
    return f".*?{text}" if group.opener else text


class _MatchesNothing(Exception):
    """The pattern is malformed, so git matches nothing with it."""


def _tokens(pattern: str, begin: int, *, is_path: bool) -> Iterator[str]:
    """Yield `*`, `**`, `**/`, and expressions of one character. Raises _MatchesNothing."""
    place = 0
    while place < len(pattern):
        char = pattern[place]
        if char == "*":
            token, place = _stars(pattern, place, begin, is_path=is_path)
            yield token
        elif char == "[":
            members, place = _set(pattern, place + 1)
            yield _expression(members)
        elif char == "\\":
            if place + 1 == len(pattern):
                raise _MatchesNothing
            yield re.escape(pattern[place + 1])
            place += 2
        else:
            yield "[^/]" if char == "?" else re.escape(char)
            place += 1


def _stars(pattern: str, place: int, begin: int, *, is_path: bool) -> tuple[str, int]:
    """Return the token that the stars at `place` form, and where they end."""
    end = place
    while pattern[end : end + 1] == "*":
        end += 1
    begins_part = place == begin or pattern[place - 1] == "/"
    if not is_path or end - place == 1 or not begins_part:
        return "*", end
    if pattern[end : end + 1] == "/":
        return "**/", end + 1
    # An escaped slash ends the part, too, but must be present in the path.
    return ("**" if end == len(pattern) or pattern.startswith("\\/", end) else "*"), end


def _set(pattern: str, place: int) -> tuple[frozenset[str], int]:
    """Return the characters of a set that begins before `place`, and where it ends."""
    negated = pattern[place : place + 1] in ("!", "^")
    place += negated
    members: set[str] = set()
    before, first = "", True
    while first or pattern[place : place + 1] != "]":
        first = False
        found, before, place = _set_item(pattern, place, before)
        members |= found
    return (_ALL - members if negated else frozenset(members)), place + 1


def _set_item(pattern: str, place: int, before: str) -> tuple[frozenset[str], str, int]:
    """Return what the item at `place` adds, the character from which a range may follow, and where the item ends."""
    char = _at(pattern, place)
    if char == "-" and before and pattern[place + 1 : place + 2] not in ("", "]"):
        end, place = _escaped(pattern, place + 1)
        return frozenset(map(chr, range(ord(before), ord(end) + 1))), "", place
    if pattern.startswith("[:", place):
        end_of_class = pattern.find("]", place + 2)
        if end_of_class < 0:
            raise _MatchesNothing
        name = pattern[place + 2 : end_of_class]
        if name.endswith(":"):
            if name[:-1] not in _MEMBERS:
                raise _MatchesNothing
            return _MEMBERS[name[:-1]], "", end_of_class + 1
    char, place = _escaped(pattern, place)
    return frozenset(char), char, place


def _escaped(pattern: str, place: int) -> tuple[str, int]:
    char = _at(pattern, place)
    if char != "\\":
        return char, place + 1
    return _at(pattern, place + 1), place + 2


def _at(pattern: str, place: int) -> str:
    if place >= len(pattern):
        raise _MatchesNothing
    return pattern[place]


def _expression(members: frozenset[str]) -> str:
    codes = sorted(map(ord, members - {"/"}))
    if not codes:
        raise _MatchesNothing
    text, first = "", codes[0]
    for code, following in pairwise([*codes, -1]):
        if following != code + 1:
            text += f"\\x{first:02x}-\\x{code:02x}"
            first = following
    return f"[{text}]"
