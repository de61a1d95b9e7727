"""Bytes on a connection that are nearly, or not at all, a request of HTTP/1.1."""

from tests.fuzz.choices import Choices
from tests.fuzz.kinds import texts
from tests.fuzz.message import Message

_LINES = (
    b"GET /health HTTP/1.1",
    b"POST /jobs HTTP/1.1",
    b"GET /health HTTP/1.0",
    b"GET /health",
    b"GET  /health  HTTP/1.1",
    b"GET /health HTTP/9.9",
    b"GET http://{host}/health HTTP/1.1",
    b"GET http://[/health HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"CONNECT {host} HTTP/1.1",
    b"PRI * HTTP/2.0",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"G\x00T / HTTP/1.1",
    b"GET /\xff HTTP/1.1",
    b"GET /\x01 HTTP/1.1",
    b"",
)
_HOSTS = (b"Host: {host}", b"Host: {host}\r\nHost: {host}", b"", b"Host:", b"Host: a\r\nHost: b", b" Host: {host}")
_BODY = b'{"type":"echo"}'
_CHUNKED = b"f\r\n" + _BODY + b"\r\n0\r\n\r\n"
_FRAMING = (
    (b"", b""),
    (b"Content-Length: 15", _BODY),
    (b"Content-Length: 15\r\nContent-Length: 15", _BODY),
    (b"Content-Length: 15\r\nContent-Length: 16", _BODY),
    (b"Content-Length: 15, 15", _BODY),
    (b"Content-Length: +15", _BODY),
    (b"Content-Length: -1", _BODY),
    (b"Content-Length: 0x0f", _BODY),
    (b"Content-Length:", _BODY),
    (b"Content-Length: 18446744073709551615", _BODY),
    (b"Content-Length: " + b"9" * 400, _BODY),
    (b"Content-Length: 500", _BODY),
    (b"Content-Length: 3", _BODY),
    (b"Transfer-Encoding: chunked", _CHUNKED),
    (b"Transfer-Encoding: chunked\r\nContent-Length: 15", _CHUNKED),
    (b"Content-Length: 15\r\nTransfer-Encoding: chunked", _CHUNKED),
    (b"Transfer-Encoding: xchunked", _CHUNKED),
    (b"Transfer-Encoding: gzip, chunked", _CHUNKED),
    (b"Transfer-Encoding : chunked", _CHUNKED),
    (b"Transfer-Encoding:\tchunked", _CHUNKED),
    (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", _CHUNKED),
    (b"Transfer-Encoding: chunked", b"f;a=b\r\n" + _BODY + b"\r\n0\r\nX: y\r\n\r\n"),
    (b"Transfer-Encoding: chunked", b"ffffffffffffffff\r\n" + _BODY),
    (b"Transfer-Encoding: chunked", b"-1\r\n" + _BODY),
    (b"Transfer-Encoding: chunked", b"f\n" + _BODY + b"\n0\n\n"),
    (b"Transfer-Encoding: chunked", b"f\r\n" + _BODY + b"0\r\n\r\n"),
)
_MORE = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM",
    b"Expect: 100-continue",
    b"X: y",
)
_ENDS = (b"\r\n", b"\n", b"\r", b"\r\n ", b"\0\r\n")
_MOST = 2_000_000
_SIZES = (100, 5_000, 70_000, 1_000_000)


def generate(choices: Choices) -> Message:
    framing, body = choices.pick(_FRAMING)
    line = choices.pick(_LINES if choices.chance(40) else _LINES[:2])
    host = choices.pick(_HOSTS if choices.chance(30) else _HOSTS[:1])
    lines = [line, host, framing, *(choices.several(2, _header) if choices.chance(50) else ())]
    end = choices.pick(_ENDS) if choices.chance(20) else b"\r\n"
    data = end.join(line for line in lines if line) + end + end + body
    if choices.chance(15):
        data *= choices.pick((2, 3, 200))
    if choices.chance(30):
        data = _mutated(choices, data)
    return Message(raw=data[:_MOST])


def _header(choices: Choices) -> bytes:
    if choices.chance(15):
        size = choices.pick(_SIZES)
        return choices.pick((b"A" * size + b": b", b"A: " + b"b" * size, b"A: b\r\n" * (size // 6)))
    if choices.chance(50):
        return choices.pick(_MORE)
    return texts.encodable(choices.pick(texts.ODD)) + choices.pick((b": ", b":", b"", b" : ")) + b"v"


def _mutated(choices: Choices, data: bytes) -> bytes:
    place = choices.below(min(len(data), 2_000) + 1)
    inserted = bytes([choices.pick((0, 9, 10, 13, 32, 58, 127, 128, 255))])
    return choices.pick((data[:place], data[:place] + inserted + data[place:], data[:place] + data[place + 1 :]))
