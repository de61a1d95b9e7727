"""Contents of artifacts in a bucket of any store that speaks S3; only this module imports `obstore`.

Objects are kept as they are, so that all who have a signed URL read them without the server. An upload of several
parts that a kill cut off is no object: a rule of the bucket removes such parts (docs/artifacts.md).
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, Final

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store as Bucket

from ci_common.artifacts.store import CHUNK, Content, ContentLost, Kept, Source, StoreRefused, StoreUnavailable
from ci_common.errors import SettingsError
from ci_common.jobs import is_job_id

_AT_A_TIME: Final = 8
_SMALL: Final = 8 * CHUNK
"""A content of at most so many bytes is sent in one request."""
_PART: Final = 16 * 1024**2
"""Bytes of a part of a larger one; a store takes at most 10,000 parts."""
_READ: Final = 256 * 1024
_RETRIES: Final = 5
_RETRY_SECONDS: Final = 60
_REMOVED_AT_ONCE: Final = 1000
_SLASHES_OF_A_KEY: Final = 3


class S3Store:
    """A bucket, or what is below one prefix in it. Credentials, region and endpoint come from the AWS variables."""

    def __init__(self, url: str) -> None:
        """`url` is `s3://BUCKET` or `s3://BUCKET/PREFIX`. Raises SettingsError."""
        self._url = url
        try:
            self._bucket = Bucket.from_url(
                url.rstrip("/"),
                retry_config={"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=_RETRY_SECONDS)},
                # An endpoint without TLS has to be named on purpose.
                client_options={"user_agent": "ci-server", "allow_http": not _has_tls()},
            )
        except (BaseError, ValueError) as exc:
            raise SettingsError(f"CI_ARTIFACTS_URL={url!r}: {_short(exc)}") from exc

    async def keep(self, sources: Sequence[Source], check: Callable[[], None]) -> list[Kept | Exception]:
        turns = asyncio.Semaphore(_AT_A_TIME)
        stopped: list[Exception] = []

        async def keep(source: Source) -> Kept | Exception:
            async with turns:
                try:
                    if not stopped:
                        check()
                except Exception as exc:
                    stopped.append(exc)
                return stopped[0] if stopped else await self._outcome(source)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(keep(source)) for source in sources]
        if stopped:
            raise stopped[0]
        return [task.result() for task in tasks]

    async def _outcome(self, source: Source) -> Kept | Exception:
        try:
            return await self._keep(source)
        except BaseError as exc:
            return self._unavailable(exc)
        except Exception as exc:
            return exc

    async def _keep(self, source: Source) -> Kept:
        chunks = source.chunks()
        beginning = await asyncio.to_thread(_up_to, chunks, _SMALL + 1)
        attributes = {"Content-Type": source.content_type, "Content-Disposition": source.disposition}
        size = len(beginning)
        if size <= _SMALL:
            await self._put(source.key, beginning, attributes=attributes, use_multipart=False)
            return Kept(source.key, size)
        failed: list[Exception] = []

        async def all_of_it() -> AsyncGenerator[bytes, None]:
            nonlocal size
            yield beginning
            try:
                while chunk := await asyncio.to_thread(next, chunks, b""):
                    size += len(chunk)
                    yield chunk
            except Exception as exc:
                failed.append(exc)
                raise

        try:
            await self._put(source.key, all_of_it(), attributes=attributes, chunk_size=_PART, max_concurrency=4)
        except Exception as exc:
            raise (failed[0] if failed else exc) from None
        return Kept(source.key, size)

    async def _put(self, key: str, content: bytes | AsyncGenerator[bytes, None], **how: Any) -> None:
        """Send a content; if that fails, the store has none. Raises StoreRefused if there is no bucket."""
        try:
            await obstore.put_async(self._bucket, key, content, **how)
        except FileNotFoundError as exc:
            raise StoreRefused(f"the artifact store {self._url} is not there: {_short(exc)}") from exc

    async def open(self, key: str, size: int) -> Content:
        try:
            found = await obstore.head_async(self._bucket, key)
        except FileNotFoundError as exc:
            raise ContentLost(f"{self._url} has no {key}") from exc
        except BaseError as exc:
            raise self._unavailable(exc) from exc
        if found["size"] != size:
            raise ContentLost(f"{key} has {found['size']} bytes in {self._url}, and had {size}")
        return _Object(self, self._bucket, key, size)

    async def link(self, key: str, seconds: float) -> str | None:
        try:
            return await obstore.sign_async(self._bucket, "GET", key, timedelta(seconds=seconds))
        except BaseError as exc:
            raise self._unavailable(exc) from exc

    async def remove(self, prefix: str) -> None:
        try:
            found: list[str] = [prefix] if prefix.count("/") == _SLASHES_OF_A_KEY else []
            async for batch in obstore.list(self._bucket, prefix, chunk_size=_REMOVED_AT_ONCE):
                found += [entry["path"] for entry in batch]
                if len(found) >= _REMOVED_AT_ONCE:
                    await obstore.delete_async(self._bucket, found)
                    found = []
            if found:
                await obstore.delete_async(self._bucket, found)
        except FileNotFoundError:
            pass  # A store that says so of what has gone already.
        except BaseError as exc:
            raise self._unavailable(exc) from exc

    async def jobs(self) -> AsyncGenerator[str, None]:
        try:
            found = await obstore.list_with_delimiter_async(self._bucket)
        except BaseError as exc:
            raise self._unavailable(exc) from exc
        for prefix in found["common_prefixes"]:
            name = prefix.rstrip("/").rpartition("/")[2]
            if is_job_id(name):
                yield name

    def _unavailable(self, exc: Exception) -> StoreUnavailable:
        lasting = isinstance(exc, PermissionDeniedError | UnauthenticatedError)
        return (StoreRefused if lasting else StoreUnavailable)(
            f"the artifact store {self._url} cannot be used at present: {_short(exc)}"
        )


class _Object:
    """An object that is being read."""

    def __init__(self, store: S3Store, bucket: Bucket, key: str, size: int) -> None:
        self._store = store
        self._bucket = bucket
        self._key = key
        self.size = size

    async def chunks(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        if start >= end:
            return
        try:
            answer = await obstore.get_async(self._bucket, self._key, options={"range": (start, end)})
            async for chunk in answer.stream(min_chunk_size=_READ):
                yield bytes(chunk)
        except FileNotFoundError as exc:
            raise OSError(f"{self._key} was removed while it was being read") from exc
        except BaseError as exc:
            raise self._store._unavailable(exc) from exc

    def close(self) -> None:
        pass


def _has_tls() -> bool:
    named = (
        os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT")
    )
    return named is None or not named.startswith("http://")


def _up_to(chunks: Iterator[bytes], count: int) -> bytes:
    """Return the first chunks, which together have at least `count` bytes if there are so many."""
    parts: list[bytes] = []
    while count > 0 and (chunk := next(chunks, b"")):
        parts.append(chunk)
        count -= len(chunk)
    return b"".join(parts)


def _short(exc: Exception) -> str:
    """Return the first line of an error; what follows in obstore's is its structure."""
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0][:500]
