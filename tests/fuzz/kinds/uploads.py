"""Wraps a project into the form that `POST /submit-async` takes."""

import io
import zipfile
from collections.abc import Mapping

from tests.fuzz.message import Message

BOUNDARY = "xXfuzzXx"


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    """Return one part of a form."""
    file = "" if filename is None else f'; filename="{filename}"'
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def posted(parts: bytes, target: str = "/submit-async") -> Message:
    """Return the request with these parts of a form."""
    kind = ("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
    return Message("POST", target, (kind,), parts + f"--{BOUNDARY}--\r\n".encode())


def uploaded(archive: bytes, spec: str | None = None) -> Message:
    """Return the request that uploads an archive."""
    field = b"" if spec is None else part("spec", spec.encode())
    return posted(part("file", archive, "p.zip") + field)


def zipped(files: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> bytes:
    """Return an archive of files, and of links to other paths."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # With the same date each time.
        for name, target in (links or {}).items():
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            info.external_attr = 0o120777 << 16
            archive.writestr(info, target)
    return buffer.getvalue()
