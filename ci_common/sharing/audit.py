"""The audit: who did what, from where and with which key, and what was refused, as a chain of entries.

The digest of an entry is the SHA-256 of its JSON form without the digest: keys in order, no spaces, ASCII only. That
form has the digest of the entry before, so an entry cannot be changed, removed, added or moved without changing all
digests after it. Who can write to the database can make a whole new chain; its end then differs from a `Mark` that was
noted elsewhere.
"""

import hashlib
import json
import os
import pwd
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

from ci_common.access.keys import without_keys
from ci_common.secrets.tokens import without_tokens
from ci_common.times import micros_to_rfc3339, to_micros, utc_now

LONGEST: Final = 300
"""The most characters of a text in an entry; a longer one is cut."""
COMMAND: Final = "command line"
"""The address of what a command did in the database itself, where the server runs."""
START: Final = "0" * 64
"""What the first entry of all has in place of the digest of the one before."""
_write: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_quoted: Final = json.encoder.encode_basestring_ascii
_MARK: Final = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")


class Outcome(StrEnum):
    """What became of a request."""

    DONE = "done"
    REFUSED = "refused"
    """For want of a key, a scope, a rate or a quota, or since its sender may not see what it names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is to be recorded. All texts are as `recordable` returns them."""

    time: int
    """In microseconds since 1970 UTC; of several refusals, that of the first one."""
    action: str
    """The name of the endpoint, or of the command."""
    actor: str
    """The name of the identity that sent the request, or of the user who ran the command."""
    key_id: str | None
    """The key that the request was sent with."""
    address: str
    """Where the request came from."""
    request: str
    """Its method and path, or the command."""
    target: str
    """What it was about, as a path of the API: of a submission, the new job."""
    project: str | None
    outcome: Outcome
    reason: str | None = None
    """The code of the error with which it was refused."""
    count: int = 1
    """How many refusals of one sender within a minute the entry stands for."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the chain: the number of an entry and its digest. Written as `NUMBER:DIGEST`."""

    number: int
    digest: str

    def __str__(self) -> str:
        return f"{self.number}:{self.digest}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` has written. Raises ValueError."""
        found = _MARK.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"{text[:LONGEST]!r} is not a mark; write NUMBER:DIGEST, as ci audit --verify prints it")
        return cls(int(found[1]), found[2])


BEGINNING: Final = Mark(0, START)
"""The mark before the first entry of all."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """An entry in its place."""

    number: int
    entry: Entry
    previous: str
    """The digest of the entry before."""
    digest: str

    @property
    def mark(self) -> Mark:
        """The place that the next entry follows."""
        return Mark(self.number, self.digest)


@dataclass(frozen=True, slots=True)
class Broken:
    """Where a chain does not hold."""

    number: int
    """Of the first entry that does not fit."""
    reason: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What a walk along the chain has found."""

    removed: Mark
    """The last entry that was removed since it was old; `BEGINNING` while none was."""
    last: Mark
    """The last entry that fits."""
    entries: int
    """How many fit."""
    broken: Broken | None


def recorded(entry: Entry, after: Mark) -> Recorded:
    """Return the entry in the place behind `after`."""
    number = after.number + 1
    return Recorded(number, entry, after.digest, hashlib.sha256(_canonical(number, entry, after.digest)).hexdigest())


def _canonical(number: int, entry: Entry, previous: str) -> bytes:
    """Return what `digest_of` makes a digest of, in a third of the time: entries are written one after the other."""
    text = (
        f'{{"action":{_quoted(entry.action)},"actor":{_quoted(entry.actor)},"address":{_quoted(entry.address)},'
        f'"count":{entry.count},"key_id":{_quoted_or_null(entry.key_id)},"number":{number},'
        f'"outcome":"{entry.outcome}","previous":"{previous}","project":{_quoted_or_null(entry.project)},'
        f'"reason":{_quoted_or_null(entry.reason)},"request":{_quoted(entry.request)},'
        f'"target":{_quoted(entry.target)},"time":"{micros_to_rfc3339(entry.time)}"}}'
    )
    return text.encode()


def _quoted_or_null(text: str | None) -> str:
    return "null" if text is None else _quoted(text)


def entry_on_wire(number: int, entry: Entry, previous: str) -> dict[str, Any]:
    """Return the JSON form of which the digest is made."""
    return {
        "number": number,
        "time": micros_to_rfc3339(entry.time),
        "action": entry.action,
        "actor": entry.actor,
        "key_id": entry.key_id,
        "address": entry.address,
        "request": entry.request,
        "target": entry.target,
        "project": entry.project,
        "outcome": entry.outcome,
        "reason": entry.reason,
        "count": entry.count,
        "previous": previous,
    }


def recorded_on_wire(each: Recorded) -> dict[str, Any]:
    """Return an entry as the API shows it."""
    return {**entry_on_wire(each.number, each.entry, each.previous), "digest": each.digest}


def digest_of(document: dict[str, Any]) -> str:
    """Return the digest of an entry's JSON form, in hexadecimal digits; a `digest` in it does not count."""
    content = {name: value for name, value in document.items() if name != "digest"}
    return hashlib.sha256(_write(content).encode()).hexdigest()


class Chain:
    """Checks entries one after the other, in the order of their numbers. `mark` is how far they fit."""

    def __init__(self, mark: Mark, noted: Mark | None = None) -> None:
        """`mark` is what the first entry has to follow; the chain has to have `noted`, unless that was removed."""
        self.mark = mark
        self.entries = 0
        self._start = mark
        self._noted = noted

    def check(self, document: dict[str, Any]) -> Broken | None:
        """Return why the next entry, in its JSON form, does not fit; None if it does."""
        number, expected = document["number"], self.mark.number + 1
        if number != expected:
            missing = f"entry {expected}" if number == expected + 1 else f"the entries {expected} to {number - 1}"
            return Broken(number, f"{missing} before it cannot be found" if number > expected else "it is out of order")
        if document["previous"] != self.mark.digest:
            return Broken(number, f"it does not follow the entry {self.mark.number} that is there")
        if document["digest"] != digest_of(document):
            return Broken(number, "its digest is not that of its content")
        if self._noted is not None and self._noted.number == number and self._noted.digest != document["digest"]:
            return Broken(number, "its digest is not the one that was noted")
        self.mark = Mark(number, document["digest"])
        self.entries += 1
        return None

    def check_end(self, end: Mark) -> Broken | None:
        """Return why the chain does not end where it has to, once all entries are checked; None if it does."""
        if self.mark.number < end.number:
            return Broken(self.mark.number + 1, f"it cannot be found, and the last entry has to be {end.number}")
        if self.mark != end:
            return Broken(end.number, "the end of the chain has another number or digest")
        noted = self._noted
        if noted is not None and noted.number > end.number:
            return Broken(end.number + 1, f"it cannot be found, and entry {noted.number} was noted")
        if noted is not None and noted.number == self._start.number and noted != self._start:
            return Broken(noted.number, "its digest is not the one that was noted")
        return None


def command_entry(action: str, request: str, target: str = "/") -> Entry:
    """Return the entry of a command that changes the database itself, by the user who runs this process."""
    try:
        actor = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        actor = f"user {os.getuid()}"
    return Entry(
        time=to_micros(utc_now()),
        action=action,
        actor=recordable(actor),
        key_id=None,
        address=COMMAND,
        request=recordable(request),
        target=recordable(target),
        project=None,
        outcome=Outcome.DONE,
    )


def recordable(text: str) -> str:
    """Return a text as entries have it: on one line, printable, without keys and tokens, and cut if it is long."""
    text = without_tokens(without_keys(text))
    shown = text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"
