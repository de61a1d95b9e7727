"""What a connection may cost before its request is one, seen from a socket."""

import asyncio
import json

import pytest

from ci_server.connections import httptools_protocol, request_head, tracker
from tests.e2e.conftest import Connect
from tests.helpers.http import GET, LAST_GET, answers_in, exchange, get
from tests.helpers.played_api import Api, StartApi
from tests.helpers.waiting import PATIENCE, eventually

ECHO = b'{"type": "echo"}'
POST = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(ECHO)
CHUNKED = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


def code_of(body: bytes) -> str:
    return str(json.loads(body)["code"])


TOO_MUCH = {
    "one header": (get(b"/health", b"X: " + b"x" * request_head.HEADER_BYTES), 431),
    "a header's name": (get(b"/health", b"x" * request_head.HEADER_BYTES + b": x"), 431),
    "one header without end": (get(b"/health")[:-4] + b"\r\nX: " + b"x" * 3_000_000, 431),
    "many headers": (get(b"/health", *[b"X: y"] * request_head.HEADERS), 431),
    "headers without end": (get(b"/health")[:-2] + b"X: y\r\n" * 1_000_000, 431),
    "all headers": (get(b"/health", *[b"X: " + b"x" * 4_000] * 9), 431),
    "the URL": (get(b"/health?" + b"x" * request_head.URL_BYTES), 414),
    "a URL without end": (b"GET /" + b"x" * 3_000_000, 414),
    "empty lines": (b"\r\n" * 100_000, 431),
}


@pytest.mark.parametrize(("request_bytes", "status"), TOO_MUCH.values(), ids=TOO_MUCH)
async def test_what_is_too_large_is_refused(api: Api, connect: Connect, request_bytes: bytes, status: int) -> None:
    wire = await connect(api.url)
    sending = asyncio.create_task(wire.send(request_bytes))
    head = await wire.head()
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"application/problem+json" in head
    assert b"connection: close" in head
    (answer,) = answers_in(head + await wire.rest())
    assert code_of(answer.body) == {431: "headers_too_large", 414: "url_too_long"}[status]
    sending.cancel()


@pytest.mark.parametrize(
    "request_bytes",
    [
        get(b"/health", b"X: " + b"x" * (request_head.HEADER_BYTES - 10)),
        get(b"/health", *[b"X: y"] * (request_head.HEADERS - 2)),
        b"\r\n\r\n" + get(),
    ],
    ids=["one header", "many headers", "empty lines before it"],
)
async def test_what_is_just_within_the_limits_is_taken(api: Api, request_bytes: bytes) -> None:
    (answer,) = await exchange(api.url, request_bytes)
    assert answer.status == 200


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_a_request_may_come_in_pieces(api: Api, size: int) -> None:
    sent = get(b"/health")
    (answer,) = await exchange(api.url, *(sent[start : start + size] for start in range(0, len(sent), size)))
    assert answer.status == 200


MALFORMED = {
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    "two hosts in 1.0": b"GET /health HTTP/1.0\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    "an empty host": b"GET /health HTTP/1.1\r\nHost:\r\n\r\n",
    "a host that is none": b"GET /health HTTP/1.1\r\nHost: [\r\n\r\n",
    "a host with a path": b"GET /health HTTP/1.1\r\nHost: localhost/x\r\n\r\n",
    "a host with a user": b"GET /health HTTP/1.1\r\nHost: localhost@evil.example\r\n\r\n",
    "HTTP/0.9": b"GET /health\r\n",
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "lines that end in LF": b"GET /health HTTP/1.1\nHost: localhost\n\n",
    "CONNECT": b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "bytes beyond ASCII in the path": b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a chunk without a size": CHUNKED + b"x\r\n",
}


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED)
async def test_what_is_not_http_is_refused(
    api: Api, connect: Connect, request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    wire = await connect(api.url)
    await wire.send(request_bytes)
    head = await wire.head()
    wire.writer.write_eof()
    (answer,) = answers_in(head + await wire.rest())
    wire.close()
    assert (answer.status, code_of(answer.body)) == (400, "invalid_http")
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    "sent", [b"", b"GET /hea", GET[:-2], b"\r\n"], ids=["nothing", "line", "headers", "empty line"]
)
@pytest.mark.usefixtures("quick")
async def test_headers_have_their_time(api: Api, connect: Connect, sent: bytes) -> None:
    wire = await connect(api.url)
    await wire.send(sent)
    received = await wire.rest()
    wire.close()
    if sent == b"":
        assert received == b""
    else:
        (answer,) = answers_in(received)
        assert (answer.status, code_of(answer.body)) == (408, "request_timeout")


@pytest.mark.usefixtures("quick")
async def test_bytes_that_trickle_do_not_buy_time(api: Api, connect: Connect) -> None:
    wire = await connect(api.url)

    async def trickle() -> None:
        await wire.send(GET[:-2] + b"X: ")
        while True:
            await wire.send(b"x")
            await asyncio.sleep(0.01)

    trickling = asyncio.create_task(trickle())
    assert (await wire.head()).startswith(b"HTTP/1.1 408 ")
    await asyncio.wait([trickling], timeout=PATIENCE)
    assert isinstance(trickling.exception(), ConnectionError)


@pytest.mark.usefixtures("quick")
async def test_an_idle_connection_is_closed_without_a_word(api: Api) -> None:
    (answer,) = await exchange(api.url, GET)
    assert answer.status == 200


@pytest.mark.usefixtures("quick")
async def test_readers_of_a_quiet_stream_have_all_the_time_there_is(api: Api, connect: Connect) -> None:
    job_id = await api.submit()
    await api.controller.start(job_id)
    wire = await connect(api.url)
    await wire.send(f"GET /jobs/{job_id}/stream HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    await wire.head()
    idle = await connect(api.url)  # Has come later, so its end tells that the reader's time would be over.
    assert await idle.rest() == b""
    idle.close()
    await api.controller.finish(job_id)
    received = await asyncio.wait_for(wire.reader.readuntil(b'"complete"'), PATIENCE)
    assert b'"complete"' in received


async def test_requests_are_answered_one_by_one_in_their_order(api: Api) -> None:
    chunked = CHUNKED + b"10\r\n" + ECHO + b"\r\n0\r\n\r\n"
    with_trailer = CHUNKED + b"8;x=y\r\n" + ECHO[:8] + b"\r\n8\r\n" + ECHO[8:] + b"\r\n0\r\nX: y\r\n\r\n"
    posted = POST.replace(b"Connection: close\r\n", b"") + ECHO
    answers = await exchange(api.url, GET + posted + chunked + GET + with_trailer + GET * 300 + LAST_GET)
    assert [answer.status for answer in answers] == [200, 202, 202, 200, 202, *[200] * 301]


async def test_a_chunked_request_ends_where_it_ends_however_it_comes(api: Api) -> None:
    body = CHUNKED + b"10\r\n" + ECHO + b"\r\n0\r\n\r\n"
    sent = body + LAST_GET
    for cut in range(len(body) - 6, len(body) + 3):
        answers = await exchange(api.url, sent[:cut], sent[cut:])
        assert [answer.status for answer in answers] == [202, 200]


async def test_no_more_is_read_while_a_request_is_answered(
    api: Api, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hundred thousand requests at once took half a gigabyte."""
    made: list[httptools_protocol.LimitedProtocol] = []
    connected = httptools_protocol.LimitedProtocol.connection_made
    monkeypatch.setattr(
        httptools_protocol.LimitedProtocol,
        "connection_made",
        lambda self, transport: (made.append(self), connected(self, transport)),
    )
    job_id = await api.submit()
    wire = await connect(api.url)
    stream = f"GET /jobs/{job_id}/stream HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    sending = asyncio.create_task(wire.send(stream + GET * 200_000))
    await wire.head()
    await eventually(lambda: made[-1].flow.read_paused)
    assert len(made[-1]._held) < 1_000_000
    assert not sending.done()
    sending.cancel()


async def test_the_end_of_a_connection_ends_what_was_pipelined(
    api: Api, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    wire = await connect(api.url)
    await wire.send(GET * 5_000)
    await wire.head()
    wire.close()
    assert (await api.client.get("/health")).status_code == 200
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR", "CRITICAL")]


@pytest.mark.parametrize(
    ("upgrade", "connection"),
    [(b"h2c", b"Upgrade, HTTP2-Settings"), (b"websocket", b"keep-alive, Upgrade"), (b"TLS/1.0", b"upgrade")],
)
@pytest.mark.parametrize("in_chunks", [False, True])
async def test_an_upgrade_is_ignored_and_the_body_counts(
    api: Api, upgrade: bytes, connection: bytes, in_chunks: bool
) -> None:
    length = b"Transfer-Encoding: chunked" if in_chunks else b"Content-Length: %d" % len(ECHO)
    body = b"10\r\n" + ECHO + b"\r\n0\r\n\r\n" if in_chunks else ECHO
    lines = [b"POST /jobs HTTP/1.1", b"Connection: " + connection, b"Host: localhost", b"HTTP2-Settings: AAEAAEAAAA"]
    request = b"\r\n".join([*lines, b"Upgrade: " + upgrade, length, b"", b""]) + body
    first, second = await exchange(api.url, request + LAST_GET)
    assert (first.status, second.status) == (202, 200)
    assert json.loads(first.body)["type"] == "echo"


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [(POST + ECHO, [202]), (GET, [200]), (GET * 3, [200] * 3), (POST + ECHO[:3], []), (GET + GET[:9], [200])],
    ids=["post", "get", "pipelined", "half a body", "half a request more"],
)
async def test_a_client_that_says_that_it_is_done_gets_its_answers(api: Api, sent: bytes, statuses: list[int]) -> None:
    answers = await exchange(api.url, sent, half_close=True)
    assert [answer.status for answer in answers if answer.complete] == statuses


async def test_a_reader_that_says_that_it_is_done_is_let_go(api: Api, connect: Connect) -> None:
    job_id = await api.submit()
    wire = await connect(api.url)
    await wire.send(f"GET /jobs/{job_id}/stream HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    await wire.head()
    wire.writer.write_eof()
    assert b'"complete"' not in await wire.rest()


LONGER_THAN_SAID = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n" + ECHO


@pytest.mark.parametrize(
    "sent",
    [
        LONGER_THAN_SAID,
        CHUNKED.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n") + b"-1\r\n{}",
    ],
    ids=["a longer body", "a broken chunk where 100 Continue is expected"],
)
async def test_a_body_that_is_refused_leaves_no_error(api: Api, sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    answers = await exchange(api.url, sent)
    assert answers[-1].status == 400
    await exchange(api.url, LAST_GET)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_as_many_connections_as_there_may_be(
    start_api: StartApi, connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Those that wait for a request give way; where there are none, further ones are refused."""
    monkeypatch.setattr(tracker, "_most_by_descriptors", lambda: 6)
    api = await start_api()
    await api.client.get("/health")
    job_id = await api.submit()
    silent = [await connect(api.url) for _ in range(20)]
    (answer,) = await exchange(api.url, LAST_GET)
    assert answer.status == 200
    readers = []
    for _ in range(6):
        readers.append(await connect(api.url))
        await readers[-1].send(f"GET /jobs/{job_id}/stream HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await readers[-1].head()
    for wire in silent:
        assert await wire.rest() == b""
    (refused,) = await exchange(api.url, b"")
    assert (refused.status, code_of(refused.body)) == (503, "too_many_connections")
    assert refused.headers["retry-after"] == "5"
    readers.pop().close()
    await eventually(lambda: _answers(api))
    assert len([record for record in caplog.records if "6 connections are open" in record.message]) == 1


async def _answers(api: Api) -> bool:
    (answer,) = await exchange(api.url, LAST_GET)
    return answer.status == 200
