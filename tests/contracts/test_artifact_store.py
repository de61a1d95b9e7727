"""Both artifact stores keep one contract. What only one of them can do is below."""

import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from ci_common.artifacts.directory import DirectoryStore
from ci_common.artifacts.s3 import S3Store
from ci_common.artifacts.store import ArtifactStore, ContentLost, StoreUnavailable
from ci_common.errors import DiskLow, SettingsError
from ci_common.jobs import new_job_id
from ci_common.system.disk import Disk
from tests.contracts.artifact_store.s3_server import in_environment, make_bucket, s3_server
from tests.contracts.artifact_store.suite import NOISE, TEXT, ArtifactStoreContract, Bytes, kept, nothing, read

KEY = "01890000-0000-7000-8000-000000000001/1/x/000000"


class TestDirectoryStore(ArtifactStoreContract):
    @pytest.fixture(autouse=True)
    def place(self, tmp_path: Path) -> Path:
        self.path = tmp_path / "artifacts"
        return self.path

    def open_store(self) -> AbstractAsyncContextManager[ArtifactStore]:
        @asynccontextmanager
        async def opened() -> AsyncIterator[ArtifactStore]:
            yield DirectoryStore(self.path)

        return opened()

    async def test_compresses_what_pays(self, store: ArtifactStore, place: Path) -> None:
        text, noise = await kept(store, Bytes(KEY, TEXT), Bytes(f"{KEY}1", NOISE))
        assert text.bytes < len(TEXT) / 3
        assert noise.bytes == len(NOISE)
        assert (place / noise.key).read_bytes() == NOISE
        if (zstd := shutil.which("zstd")) is not None:
            assert subprocess.run([zstd, "-dc", place / text.key], check=True, capture_output=True).stdout == TEXT

    async def test_a_damaged_file_is_told(self, store: ArtifactStore, place: Path) -> None:
        (text,) = await kept(store, Bytes(KEY, TEXT))
        path = place / text.key
        content = bytearray(path.read_bytes())
        content[1000] ^= 255
        path.write_bytes(content)
        with pytest.raises(OSError, match="damaged"):
            await read(store, text.key, len(TEXT))
        path.write_bytes(content[:-1])
        with pytest.raises(ContentLost, match="damaged"):
            await store.open(text.key, len(TEXT))

    async def test_a_content_that_is_being_read_can_be_removed(self, store: ArtifactStore) -> None:
        (one,) = await kept(store, Bytes(KEY, b"content"))
        content = await store.open(one.key, 7)
        await store.remove(one.key)
        assert [chunk async for chunk in content.chunks(0, 7)] == [b"content"]
        content.close()
        content.close()

    async def test_keeps_nothing_that_the_disk_has_no_room_for(self, place: Path) -> None:
        usage = shutil.disk_usage("/")
        store = DirectoryStore(place, Disk([Path("/")], min_free_bytes=usage.total, min_free_percent=100))
        (outcome,) = await store.keep([Bytes(KEY, b"content")], nothing)
        assert isinstance(outcome, DiskLow)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as url:
        yield url


class TestS3Store(ArtifactStoreContract):
    @pytest.fixture(autouse=True)
    def bucket(self, server: str) -> Iterator[str]:
        self.name = f"artifacts-{new_job_id()}"
        make_bucket(server, self.name)
        with in_environment(server):
            yield self.name

    def open_store(self) -> AbstractAsyncContextManager[ArtifactStore]:
        @asynccontextmanager
        async def opened() -> AsyncIterator[ArtifactStore]:
            yield S3Store(f"s3://{self.name}/some/prefix/")

        return opened()

    async def test_signs_urls_that_everybody_can_read_for_a_while(self, store: ArtifactStore) -> None:
        (one,) = await kept(store, Bytes(KEY, TEXT))
        link = await store.link(one.key, 60)
        assert link is not None
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(link)
            part = await client.get(link, headers={"Range": "bytes=5-9"})
        assert answer.content == TEXT
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["content-disposition"] == 'attachment; filename="a b.txt"'
        assert (part.status_code, part.content) == (206, TEXT[5:10])

    async def test_names_a_bucket_that_is_not_there(self) -> None:
        store = S3Store("s3://missing")
        (outcome,) = await store.keep([Bytes(KEY, b"x")], nothing)
        assert isinstance(outcome, StoreUnavailable)
        assert "s3://missing" in str(outcome)
        with pytest.raises(StoreUnavailable):
            [job async for job in store.jobs()]

    def test_refuses_an_address_that_is_none(self) -> None:
        with pytest.raises(SettingsError, match="CI_ARTIFACTS_URL"):
            S3Store("nonsense://x")
