"""Where the links of an archive lead, found out from their texts alone, before one of them is made.

Each link is followed once, and what it leads to is remembered. The result is what the system would find, but nothing
that stands on a disk is looked at, and the work grows with the length of the texts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ci_common.archives.names import shortened
from ci_common.errors import InvalidUpload

TARGET_BYTES = 4095
"""The longest target that a link can have."""
_PARTS = 255
_HOPS = 40
"""Linux follows no more links than this on the way to one file."""
_PATH_CHARACTERS = 4096
_STEPS = 2_000_000
"""For all links of an archive together: 20 names for each of 100,000."""


def check_links(links: Mapping[str, str], advance: Callable[[], None]) -> None:
    """Raise InvalidUpload where one of the `links`, path → target, leads out of the archive's root.

    A link that leads to nothing, or to itself, is taken: nothing can be reached by it. `advance` is called for each.
    """
    following = _Following(links)
    for path in links:
        advance()
        following.follow(path)


def check_target(path: str, target: str) -> None:
    """Raise InvalidUpload where the link at `path` cannot lead into the project, whatever else is there."""
    if not target or "\0" in target or target.startswith("/"):
        raise _leads_out(path, target)
    if target.count("/") >= _PARTS:
        raise InvalidUpload(f"link {shortened(path)} has a target of more than {_PARTS} names, one in another")


@dataclass(frozen=True, slots=True)
class _End:
    """Where a link leads."""

    place: str | None
    """A path from the root; None where the link leads to itself."""
    hops: int
    """How many links are followed on the way, this one included."""


class _Visit:
    """A link whose target is being walked along."""

    __slots__ = ("hops", "is_circular", "link", "next", "parts", "place")

    def __init__(self, link: str, target: str) -> None:
        self.link = link
        self.parts = [part for part in target.split("/") if part not in ("", ".")]
        self.next = 0
        self.place = link.rpartition("/")[0]
        self.hops = 1
        self.is_circular = False

    @property
    def end(self) -> _End:
        return _End(None if self.is_circular else self.place, self.hops)


class _Following:
    def __init__(self, links: Mapping[str, str]) -> None:
        self._links = links
        self._ends: dict[str, _End] = {}
        self._open: set[str] = set()
        self._steps = 0

    def follow(self, link: str) -> None:
        """Find out where a link leads; those on its way are followed first, without recursion."""
        wanted: str | None = link
        visits: list[_Visit] = []
        while wanted is not None or visits:
            if wanted is not None and wanted not in self._ends:
                self._open.add(wanted)
                visits.append(_Visit(wanted, self._links[wanted]))
            if not visits:
                return
            visit = visits[-1]
            wanted = self._walk(visit)
            if wanted is None:
                self._ends[visit.link] = visit.end
                self._open.discard(visit.link)
                visits.pop()

    def _walk(self, visit: _Visit) -> str | None:
        """Walk on. Return a link on the way that has to be followed first, or None at the end."""
        while visit.next < len(visit.parts):
            self._count_step()
            part = visit.parts[visit.next]
            if part == "..":
                if not visit.place:
                    raise _leads_out(visit.link, self._links[visit.link])
                visit.place = visit.place.rpartition("/")[0]
            else:
                path = f"{visit.place}/{part}" if visit.place else part
                if path in self._links:
                    if path not in self._ends and path not in self._open:
                        return path
                    self._cross(visit, path)
                else:
                    self._enter(visit, path)
            visit.next += 1
        return None

    def _enter(self, visit: _Visit, path: str) -> None:
        if len(path) > _PATH_CHARACTERS:
            raise InvalidUpload(f"link {shortened(visit.link)} leads to a path of more than {_PATH_CHARACTERS} bytes")
        visit.place = path

    def _cross(self, visit: _Visit, link: str) -> None:
        """Go on from where another link leads, which is known, unless it leads to itself or is being followed."""
        end = self._ends.get(link)
        if end is None or end.place is None:
            if visit.next + 1 < len(visit.parts):
                raise InvalidUpload(
                    f"link {shortened(visit.link)} leads on from link {shortened(link)}, which leads to itself"
                )
            visit.is_circular = True
            return
        visit.hops += end.hops
        if visit.hops > _HOPS:
            raise InvalidUpload(f"link {shortened(visit.link)} leads over more than {_HOPS} other links")
        self._enter(visit, end.place)

    def _count_step(self) -> None:
        self._steps += 1
        if self._steps > _STEPS:
            raise InvalidUpload(f"the zip archive's links name more than {_STEPS} folders and files on their way")


def _leads_out(link: str, target: str) -> InvalidUpload:
    return InvalidUpload(f"link {shortened(link)} leads out of the project, to {shortened(target)}")
