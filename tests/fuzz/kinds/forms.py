"""Forms of uploads: their boundaries, the headers of their parts, and the spec beside the file."""

from tests.fuzz.choices import Choices
from tests.fuzz.kinds import specs, texts
from tests.fuzz.kinds.uploads import BOUNDARY, part, posted, zipped
from tests.fuzz.message import Message

_ARCHIVE = zipped({"a": b"b"})
_TYPES = (
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=" + "b" * 70,
    "multipart/form-data; boundary=" + "b" * 257,
    f'multipart/form-data; boundary="{BOUNDARY}"',
    f"multipart/form-data; boundary={BOUNDARY}; charset=utf-16",
    "multipart/form-data; boundary=\xff",
    "multipart/form-data; boundary=a b",
    f"multipart/mixed; boundary={BOUNDARY}",
    "application/json",
    "",
)
_HEADERS = (
    b'Content-Disposition: form-data; name="file"; filename="a"',
    b"Content-Disposition: form-data; name=file; filename*=UTF-8''%ff",
    b'Content-Disposition: form-data; name="file"; filename="\\""',
    b'Content-Disposition: form-data; name="spec"',
    b'Content-Disposition: form-data; name="\xff"',
    b"Content-Disposition: form-data",
    b"Content-Disposition:",
    b"Content-Transfer-Encoding: base64",
    b"Content-Type: multipart/form-data; boundary=x",
    b"X: " + b"y" * 20_000,
    b"X" * 20_000 + b": y",
    b": x",
    b"x",
    b"\0: \0",
)
_MANY = (2, 100, 5_000)
_MOST = 2_000_000


def generate(choices: Choices) -> Message:
    sound = posted(part("file", _ARCHIVE, "p.zip") + part("spec", _spec(choices)))
    return choices.call(lambda _: sound, lambda _: sound, _with_odd_parts, _with_odd_type, _cut)


def _spec(choices: Choices) -> bytes:
    return texts.encodable(specs.wrapped(specs.pairs(choices)))


def _with_odd_parts(choices: Choices) -> Message:
    parts = [_part(choices) for _ in range(choices.between(1, 3))]
    if choices.chance(20):
        parts *= choices.pick(_MANY)
    target = choices.pick(("/submit-async", "/submit", "/submit-stream"))
    return posted(b"".join(parts)[:_MOST], target)


def _part(choices: Choices) -> bytes:
    content = choices.pick((_ARCHIVE, b"", b"PK", b"{}", b"\r\n--", _ARCHIVE[:-4], b"PK\5\6" + bytes(18)))
    if choices.chance(60):
        lines = [choices.pick(_HEADERS) for _ in range(choices.between(1, 3))]
        return b"\r\n".join([f"--{BOUNDARY}".encode(), *lines, b"", content, b""])
    name = choices.pick(("file", "spec", "x", "file"))
    filename = texts.text(choices)[:3_000].encode("utf-8", "replace").decode() if choices.chance(60) else None
    return part(name, content, filename)


def _with_odd_type(choices: Choices) -> Message:
    sound = posted(part("file", _ARCHIVE, "p.zip"))
    return Message("POST", "/submit-async", (("Content-Type", choices.pick(_TYPES)),), sound.body)


def _cut(choices: Choices) -> Message:
    sound = posted(part("file", _ARCHIVE, "p.zip") + part("spec", _spec(choices)[:3_000]))
    place = choices.below(len(sound.body))
    odd = choices.pick((b"", b"\0", b"\r\n", b"--", f"\r\n--{BOUNDARY}\r\n".encode(), f"--{BOUNDARY}--".encode()))
    body = sound.body[:place] + odd + (sound.body[place:] if choices.chance(50) else b"")
    return Message("POST", "/submit-async", sound.headers, body)
