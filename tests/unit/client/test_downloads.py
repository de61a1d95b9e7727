"""Saving artifacts: whole or absent, resumed, and nowhere but below the directory that was named."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from ci_client.downloading import download, places, receiving
from ci_client.downloading.download import Download, Saved, chosen
from ci_client.errors import AnswerNotUnderstood, ConnectionBroken, ContentMismatch, NotWritten, ServerError
from ci_client.transport import Connection

JOB = "01890000-0000-7000-8000-000000000001"
CONTENT = b"".join(b"line %d\n" % number for number in range(50_000))


def artifact(path: str, content: bytes = CONTENT) -> dict[str, Any]:
    return {"path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


class Server:
    """Serves contents by path, as the API does; what `answer` returns comes first."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        self.contents = contents
        self.answer: Callable[[httpx.Request], httpx.Response | None] = lambda _: None
        self.asked: list[str] = []
        """The Range of each request."""

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.headers.get("Range", ""))
        answer = self.answer(request)
        return self.serve(request) if answer is None else answer

    def serve(self, request: httpx.Request) -> httpx.Response:
        path = httpx.URL(request.url).path.partition("/artifacts/")[2]
        content = self.contents[path]
        if not (wanted := request.headers.get("Range")):
            return httpx.Response(200, content=content)
        start = int(wanted.removeprefix("bytes=").rstrip("-"))
        headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        return httpx.Response(206, headers=headers, content=content[start:])

    async def save(self, output: Path, *artifacts: dict[str, Any], replace: bool = False) -> list[Saved]:
        connection = Connection("http://ci.test", idle_seconds=5)
        await connection.http.aclose()
        connection.http = httpx.AsyncClient(transport=httpx.MockTransport(self.handle), base_url="http://ci.test")
        async with connection:
            return await Download(connection, JOB, output, replace=replace).save(artifacts)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "_PAUSE_SECONDS", 0.0)


def files(output: Path) -> dict[str, bytes]:
    return {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}


async def test_saves_files_under_their_names(tmp_path: Path) -> None:
    contents = {"a b%#?.txt": b"1", "deep/er/größe": CONTENT, "deep/empty": b"", "same/1": b"x", "same/2": b"x"}
    server = Server(contents)
    saved = await server.save(
        tmp_path / "new" / "out", *(artifact(path, content) for path, content in contents.items())
    )
    assert files(tmp_path / "new" / "out") == contents
    assert [one.path for one in saved] == [*contents]
    assert not any(one.was_there for one in saved)


async def test_what_is_there_is_not_sent_again(tmp_path: Path) -> None:
    server = Server({"a": CONTENT})
    await server.save(tmp_path, artifact("a"))
    (again,) = await server.save(tmp_path, artifact("a"))
    assert again.was_there
    assert len(server.asked) == 1


async def test_another_content_is_replaced_only_on_demand(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"mine")
    server = Server({"a": CONTENT})
    with pytest.raises(NotWritten, match="--force replaces it"):
        await server.save(tmp_path, artifact("a"))
    assert files(tmp_path) == {"a": b"mine"}
    await server.save(tmp_path, artifact("a"), replace=True)
    assert files(tmp_path) == {"a": CONTENT}
    (tmp_path / "b").mkdir()
    with pytest.raises(NotWritten, match="is a directory"):
        await server.save(tmp_path, artifact("b"), replace=True)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../x",
        "a/../../x",
        "",
        ".",
        "..",
        "a//b",
        "a/",
        "a/./b",
        "new\nline",
        "esc\x1b[2J",
        "\udcff",
        "a\0b",
    ],
)
async def test_no_name_leads_out(tmp_path: Path, path: str) -> None:
    server = Server({})
    with pytest.raises(NotWritten, match="names an artifact"):
        await server.save(tmp_path / "out", artifact("fine"), artifact(path))
    assert server.asked == []
    assert [*tmp_path.iterdir()] == []


async def test_no_link_leads_out(tmp_path: Path) -> None:
    outside, output = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    output.mkdir()
    (output / "folder").symlink_to(outside)
    (output / "file").symlink_to(outside / "target")
    server = Server({"folder/a": CONTENT, "file": CONTENT})
    with pytest.raises(NotWritten, match="a part of the path is a link"):
        await server.save(output, artifact("folder/a"), replace=True)
    await server.save(output, artifact("file"), replace=True)
    assert [*outside.iterdir()] == []
    assert not (output / "file").is_symlink()


async def test_goes_on_where_a_broken_connection_ended(tmp_path: Path) -> None:
    server = Server({"a": CONTENT})

    class Breaking(httpx.AsyncByteStream):
        def __init__(self, content: bytes) -> None:
            self.content = content

        async def __aiter__(self) -> Any:
            yield self.content
            raise httpx.ReadError("broken")

    def answer(request: httpx.Request) -> httpx.Response | None:
        whole = server.serve(request)
        if len(server.asked) <= 3:
            return httpx.Response(whole.status_code, headers=whole.headers, stream=Breaking(whole.content[:1000]))
        return None

    server.answer = answer
    await server.save(tmp_path, artifact("a"))
    assert files(tmp_path) == {"a": CONTENT}
    assert server.asked == ["", "bytes=1000-", "bytes=2000-", "bytes=3000-"]


async def test_goes_on_with_what_an_interrupted_download_left(tmp_path: Path) -> None:
    server = Server({"a": CONTENT})

    def answer(request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(200, content=CONTENT[:1234]) if not request.headers.get("Range") else httpx.Response(503)

    server.answer = answer
    with pytest.raises(ServerError):
        await server.save(tmp_path, artifact("a"))
    assert not (tmp_path / "a").exists(), "nothing half stands under the name"
    server.answer = lambda _: None
    await server.save(tmp_path, artifact("a"))
    assert files(tmp_path) == {"a": CONTENT}
    assert server.asked[-1] == "bytes=1234-"


async def test_a_store_that_serves_no_ranges_sends_all_again(tmp_path: Path) -> None:
    server = Server({"a": CONTENT})
    server.answer = lambda request: httpx.Response(200, content=CONTENT[:1000] if len(server.asked) == 1 else CONTENT)
    await server.save(tmp_path, artifact("a"))
    assert files(tmp_path) == {"a": CONTENT}


@pytest.mark.parametrize(
    ("content", "why"),
    [(CONTENT[:-1] + b"!", "is not what the job left"), (CONTENT + b"more", "is longer than")],
)
async def test_another_content_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    server = Server({"a": content})
    with pytest.raises(ContentMismatch, match=why):
        await server.save(tmp_path, artifact("a"))
    assert files(tmp_path) == {}


async def test_another_part_is_refused(tmp_path: Path) -> None:
    server = Server({"a": CONTENT})
    server.answer = lambda request: (
        httpx.Response(206, headers={"Content-Range": "bytes 0-9/10"}, content=b"0123456789")
        if request.headers.get("Range")
        else httpx.Response(200, content=CONTENT[:1000])
    )
    with pytest.raises(AnswerNotUnderstood, match="another part"):
        await server.save(tmp_path, artifact("a"))


async def test_a_connection_that_brings_nothing_is_given_up(tmp_path: Path) -> None:
    server = Server({"a": CONTENT})
    server.answer = lambda _: httpx.Response(200, content=b"")
    with pytest.raises(ConnectionBroken):
        await server.save(tmp_path, artifact("a"))
    assert len(server.asked) == 5
    assert files(tmp_path) == {}


async def test_a_redirect_to_what_is_no_url_is_refused(tmp_path: Path) -> None:
    server = Server({})
    for location in ("", "/relative", "file:///etc/passwd", "http://"):
        server.answer = lambda _, location=location: httpx.Response(302, headers={"Location": location})  # type: ignore[misc]
        with pytest.raises(AnswerNotUnderstood, match="no URL"):
            await server.save(tmp_path, artifact("a"))


async def test_names_that_the_disk_takes_for_one_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on disks that ignore case: played by a name that is another one's hard link."""
    server = Server({"README": b"1", "readme": b"2"})
    real = os.rename

    def rename(source: str, target: str, **folders: int) -> None:
        real(source, target, **folders)
        if target == "README":
            os.link("README", "readme", src_dir_fd=folders["dst_dir_fd"], dst_dir_fd=folders["dst_dir_fd"])

    monkeypatch.setattr(places.os, "rename", rename)
    monkeypatch.setattr(download, "_AT_A_TIME", 1)
    with pytest.raises(NotWritten, match="README and readme"):
        await server.save(tmp_path, artifact("README", b"1"), artifact("readme", b"2"), replace=True)
    assert (tmp_path / "README").read_bytes() == b"1"


def test_patterns_choose_and_each_has_to_match() -> None:
    listed = [artifact("dist/a.whl"), artifact("log.txt"), artifact("old") | {"removed": True}]
    assert [one["path"] for one in chosen(listed, [])] == ["dist/a.whl", "log.txt"]
    assert [one["path"] for one in chosen(listed, ["**/*.whl", "*.txt"])] == ["dist/a.whl", "log.txt"]
    with pytest.raises(NotWritten, match="no artifact matches 'old'"):
        chosen(listed, ["dist", "old"])
    with pytest.raises(ValueError, match="absolute"):
        chosen(listed, ["/etc"])
