"""The protocol of artifact stores. `tests/contracts` has the suite that each one keeps.

A content has a key, `JOB/ATTEMPT/COLLECTION/NUMBER`, and never changes. What the rows of the database do not name is
garbage: a controller that dies while it collects leaves contents that a later removal of the job's prefix takes along.
"""

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from ci_common.errors import Unavailable

CHUNK: Final = 1024 * 1024
"""The most bytes of one chunk."""


class StoreUnavailable(Unavailable):
    """The artifact store does not answer, or refuses what was asked. `str()`, which goes to the log, says which."""

    detail = "the store that keeps artifacts cannot be used at present; the server's log says why"


class StoreRefused(StoreUnavailable):
    """The same, and trying again would not help: no such bucket, or no permission."""


class ContentLost(Unavailable):
    """The store does not have a content that a row names, as after a restore without it."""

    detail = "the content of this artifact is gone from the store that kept it; the job has to be run again"


class Source(Protocol):
    """A content that is to be kept."""

    @property
    def key(self) -> str: ...

    @property
    def expected(self) -> int:
        """How many bytes it will have at most."""

    @property
    def content_type(self) -> str: ...

    @property
    def disposition(self) -> str:
        """The header `Content-Disposition` of a download that does not come through the server."""

    def chunks(self) -> Iterator[bytes]:
        """Yield the content, at most CHUNK bytes at a time; each call starts again at its beginning.

        Blocks. What it raises is an Exception, and then the content is not kept.
        """


@dataclass(frozen=True, slots=True)
class Kept:
    """A content that is kept."""

    key: str
    """What the store calls it from now on."""
    bytes: int
    """What it takes up there."""


class Content(Protocol):
    """A kept content that is being read. It stays readable until it is closed, even if it is removed in between."""

    size: int

    def chunks(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from `start` up to, not including, `end`. Raises OSError, StoreUnavailable."""

    def close(self) -> None:
        """May be called twice."""


class ArtifactStore(Protocol):
    """Keeps contents. Any number of processes may use one store at once."""

    async def keep(self, sources: Sequence[Source], check: Callable[[], None]) -> list[Kept | Exception]:
        """Keep each content as a whole or not at all; return how that went, in order. Durable once it returns.

        `check` is called before each content, perhaps in a thread; what it raises is raised here, and nothing more is
        kept. A content of the same key is replaced.
        """

    async def open(self, key: str, size: int) -> Content:
        """Return a content, which has `size` bytes. Raises ContentLost, StoreUnavailable."""

    async def link(self, key: str, seconds: float) -> str | None:
        """Return a URL from which all may read the content for so long; None if there are no such URLs."""

    async def remove(self, prefix: str) -> None:
        """Remove the content with this key, or all below it. Raises OSError, StoreUnavailable if any is left."""

    def jobs(self) -> AsyncGenerator[str, None]:
        """Yield the ids of the jobs of which anything is kept. Raises OSError, StoreUnavailable."""
