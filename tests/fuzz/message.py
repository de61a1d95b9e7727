"""One input: the bytes of a request, in a form that a file can keep."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COMPLETED, RUNNING = "{completed}", "{running}"
"""Stand in a target for the ids of two jobs that the harness keeps: one that has ended, and one that writes its log."""

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Message:
    """A request whose bytes are made here, without a library that would refuse to send them.

    `Host` and `Content-Length` are added where `headers` have no such names; text stands for its bytes in latin-1.
    """

    method: str = "GET"
    target: str = "/"
    headers: Headers = ()
    body: bytes = b""
    raw: bytes | None = field(default=None, repr=False)
    """Sent in place of all of it, with `{host}` replaced. The server may wait for more of it."""

    def encoded(self, host: str, names: Mapping[str, str], key: str = "") -> bytes:
        """Return what is sent to the server at `host`; `names` are the ids for the placeholders.

        `key` is added where the input has no `Authorization` and is not given as bytes.
        """
        if self.raw is not None:
            return self.raw.replace(b"{host}", host.encode())
        target = self.target
        for placeholder, job_id in names.items():
            target = target.replace(placeholder, job_id)
        given = {name.lower() for name, _ in self.headers}
        added = [] if "host" in given else [("Host", host)]
        if key and "authorization" not in given:
            added.append(("Authorization", f"Bearer {key}"))
        if (self.body or self.method == "POST") and not given & {"content-length", "transfer-encoding"}:
            added.append(("Content-Length", str(len(self.body))))
        lines = [f"{self.method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in (*added, *self.headers))]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body

    def shown(self) -> str:
        """Return the input as text for a person, cut where it is long."""
        if self.raw is not None:
            return _cut(self.raw)
        lines = [f"{self.method} {_cut(self.target.encode('latin-1'))}"]
        lines += [f"{name}: {_cut(value.encode('latin-1'))}" for name, value in self.headers]
        return "\n".join([*lines, *([_cut(self.body)] if self.body else [])])

    def to_json(self) -> dict[str, Any]:
        parts: dict[str, Any] = {"method": self.method, "target": self.target, "headers": self.headers}
        parts["body"] = base64.b64encode(self.body).decode()
        return parts if self.raw is None else {"raw": base64.b64encode(self.raw).decode()}

    @classmethod
    def from_json(cls, parts: Mapping[str, Any]) -> "Message":
        if "raw" in parts:
            return cls(raw=base64.b64decode(parts["raw"]))
        headers = tuple((name, value) for name, value in parts["headers"])
        return cls(parts["method"], parts["target"], headers, base64.b64decode(parts["body"]))


def written(path: Path, kind: str, message: Message, **about: Any) -> Path:
    """Write an input for `--replay`, with what is to be known about it, and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"kind": kind, **about, "message": message.to_json()}, indent=1))
    return path


def read(path: Path) -> tuple[str, Message]:
    """Return the kind and the input that `written` has written."""
    document = json.loads(path.read_text())
    return document["kind"], Message.from_json(document["message"])


def _cut(data: bytes, most: int = 700) -> str:
    text = ascii(data)[2:-1].replace("\\n", "\n")
    return text if len(text) <= most else f"{text[: most - 100]}… ({len(data)} bytes) …{text[-80:]}"
