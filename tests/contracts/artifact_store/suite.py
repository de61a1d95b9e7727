"""What every `ArtifactStore` promises."""

import os
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field

import pytest

from ci_common.artifacts.store import CHUNK, ArtifactStore, ContentLost, Kept
from ci_common.jobs import new_job_id

TEXT = b"".join(b"%d, and so on\n" % number for number in range(400_000))
"""A content that is worth compressing, of several chunks."""
NOISE = os.urandom(20 * CHUNK + 5)
"""One that is not, which S3 takes in several parts."""


@dataclass
class Bytes:
    """A content in memory. `fails_after`: reading it fails after so many bytes."""

    key: str
    content: bytes
    fails_after: int | None = None
    content_type: str = "text/plain; charset=utf-8"
    disposition: str = 'attachment; filename="a b.txt"'
    read: int = field(default=0)

    @property
    def expected(self) -> int:
        return len(self.content)

    def chunks(self) -> Iterator[bytes]:
        self.read += 1
        for start in range(0, len(self.content), CHUNK):
            if self.fails_after is not None and start >= self.fails_after:
                raise OSError("the file has gone")
            yield self.content[start : start + CHUNK]


class Leaving(Exception):
    """The process that keeps contents is to leave."""


def nothing() -> None:
    """Let everything go on."""


async def read(store: ArtifactStore, key: str, size: int, start: int = 0, end: int | None = None) -> bytes:
    content = await store.open(key, size)
    try:
        async with aclosing(content.chunks(start, size if end is None else end)) as chunks:
            return b"".join([chunk async for chunk in chunks])
    finally:
        content.close()


async def kept(store: ArtifactStore, *sources: Bytes) -> list[Kept]:
    outcomes = await store.keep(sources, nothing)
    assert all(isinstance(outcome, Kept) for outcome in outcomes), outcomes
    return [outcome for outcome in outcomes if isinstance(outcome, Kept)]


class ArtifactStoreContract(ABC):
    """Subclass it and say how the store is opened."""

    @abstractmethod
    def open_store(self) -> AbstractAsyncContextManager[ArtifactStore]:
        """Return an empty store."""

    @pytest.fixture
    async def store(self) -> AsyncIterator[ArtifactStore]:
        async with self.open_store() as store:
            yield store

    @pytest.fixture
    def prefix(self) -> str:
        return f"{new_job_id()}/1/{new_job_id()}"

    @pytest.mark.parametrize("content", [b"", b"x", TEXT, NOISE], ids=["empty", "short", "text", "noise"])
    async def test_gives_back_what_it_keeps_and_every_part_of_it(
        self, store: ArtifactStore, prefix: str, content: bytes
    ) -> None:
        (one,) = await kept(store, Bytes(f"{prefix}/0", content))
        assert await read(store, one.key, len(content)) == content
        size = len(content)
        for start, end in [(0, min(size, 1)), (size // 2, size // 2 + 3), (CHUNK - 1, CHUNK + 1), (size - 1, size)]:
            if 0 <= start <= end <= size:
                assert await read(store, one.key, size, start, end) == content[start:end], (start, end)

    async def test_keeps_each_content_as_a_whole_or_not_at_all(self, store: ArtifactStore, prefix: str) -> None:
        sources = [
            Bytes(f"{prefix}/0", b"first"),
            Bytes(f"{prefix}/1", NOISE, fails_after=12 * CHUNK),
            Bytes(f"{prefix}/2", TEXT, fails_after=CHUNK),
            Bytes(f"{prefix}/3", b"last"),
        ]
        first, broken, cut, last = await store.keep(sources, nothing)
        assert isinstance(first, Kept)
        assert isinstance(last, Kept)
        assert isinstance(broken, OSError)
        assert isinstance(cut, OSError)
        assert (await read(store, first.key, 5), await read(store, last.key, 4)) == (b"first", b"last")
        for key, size in (
            (sources[1].key, len(NOISE)),
            (sources[2].key, len(TEXT)),
            (f"{sources[2].key}.zst", len(TEXT)),
        ):
            with pytest.raises(ContentLost):
                await store.open(key, size)

    async def test_replaces_a_content_of_the_same_key(self, store: ArtifactStore, prefix: str) -> None:
        for content in (TEXT, b"short", NOISE, TEXT):
            (one,) = await kept(store, Bytes(f"{prefix}/0", content))
            assert await read(store, one.key, len(content)) == content
        await store.remove(prefix.split("/")[0])
        assert [job async for job in store.jobs()] == []

    async def test_stops_where_it_is_told_to(self, store: ArtifactStore, prefix: str) -> None:
        calls = 0

        def check() -> None:
            nonlocal calls
            calls += 1
            if calls > 1:
                raise Leaving

        sources = [Bytes(f"{prefix}/{number}", b"x") for number in range(50)]
        with pytest.raises(Leaving):
            await store.keep(sources, check)
        assert sum(source.read for source in sources) <= 1

    async def test_removes_one_content_or_all_below_a_prefix(self, store: ArtifactStore, prefix: str) -> None:
        job, other = prefix.split("/")[0], new_job_id()
        first, second = await kept(store, Bytes(f"{prefix}/1", TEXT), Bytes(f"{prefix}/10", b"ten"))
        third, _ = await kept(store, Bytes(f"{job}/2/x/0", b"again"), Bytes(f"{other}/1/x/0", b"another"))
        await store.remove(first.key)
        await store.remove(first.key)
        with pytest.raises(ContentLost):
            await store.open(first.key, len(TEXT))
        assert await read(store, second.key, 3) == b"ten", "1 is no beginning of 10"
        await store.remove(f"{job}/1")
        assert await read(store, third.key, 5) == b"again"
        assert [job async for job in store.jobs()] == sorted([job, other])
        await store.remove(job)
        await store.remove(job)
        assert [job async for job in store.jobs()] == [other]

    async def test_tells_what_is_not_there_as_it_was(self, store: ArtifactStore, prefix: str) -> None:
        (one,) = await kept(store, Bytes(f"{prefix}/0", b"content"))
        with pytest.raises(ContentLost):
            await store.open(one.key, 8)
        with pytest.raises(ContentLost):
            await store.open(f"{prefix}/1", 7)

    async def test_keeps_many(self, store: ArtifactStore, prefix: str) -> None:
        sources = [Bytes(f"{prefix}/{number:06}", b"%d" % number) for number in range(300)]
        for number, one in enumerate(await kept(store, *sources)):
            content = b"%d" % number
            assert await read(store, one.key, len(content)) == content
