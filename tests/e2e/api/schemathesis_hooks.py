"""What schemathesis has to know of the API that a schema cannot say."""

import io
import re
import zipfile
from hashlib import sha256
from typing import Any
from uuid import uuid4

import schemathesis
from hypothesis import strategies as st

from ci_common.manifests.packs import compressed_text
from ci_common.secrets.values import why_not_masked


def _zipped(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


_LAST = "Last-Event-ID"
PROJECTS = st.dictionaries(st.sampled_from(["README", "main.c", "src/a.c"]), st.text(max_size=20))
schemathesis.openapi.media_type(
    "application/zip", PROJECTS.map(lambda files: _zipped({**files, "ci.yaml": "command: 'true'"}))
)


@schemathesis.hook
def filter_headers(_context: Any, headers: dict[str, Any] | None) -> bool:
    """The jobs of this test have one attempt, so an id of a later one is refused."""
    return "-" not in str((headers or {}).get("Last-Event-ID", ""))


@schemathesis.hook
def filter_query(_context: Any, query: dict[str, Any] | None) -> bool:
    """A stream begins in one place, a query has at most 32 parameters, and a URL at most 16 KiB."""
    values = (query or {}).values()
    count = sum(len(value) if isinstance(value, list) else 1 for value in values)
    return len(str(query)) < 1000 and count <= 32 and len({"from_beginning", "tail", "since"} & set(query or {})) < 2


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """What is refused because of what it is.

    A key of another submission, secrets that would spoil every log, and the id of an event of another stream.
    """
    if case.path == "/events" and re.fullmatch("(?:[0-9]{1,3}-)?[0-9]{0,18}", (case.headers or {}).get(_LAST, "-")):
        del case.headers[_LAST]
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and re.fullmatch("[!-~](?:[ -~]{0,253}[!-~])?", key):
        case.headers["Idempotency-Key"] = str(uuid4())
    value = case.body.get("value") if isinstance(case.body, dict) else None
    if case.path == "/secrets/{name}" and isinstance(value, str) and why_not_masked(value) is not None:
        case.body["masked"] = False


MANIFESTS = st.lists(st.sampled_from(["a", "b/c"]), unique=True).map(
    lambda names: compressed_text("".join(f"f 0 {sha256().hexdigest()} {name}\n" for name in [*names, "test_it.py"]))
)
schemathesis.openapi.media_type("application/zstd", MANIFESTS)
schemathesis.openapi.media_type("application/vnd.ci-server.frames", st.just(b""))  # Their files are empty.


@schemathesis.serializer("application/zstd", "application/vnd.ci-server.frames")
def serialized(_context: Any, value: Any) -> bytes:
    """Bodies of bytes are sent as they are."""
    return value if isinstance(value, bytes) else str(value).encode()
