"""What schemathesis has to know of the API that a schema cannot say."""

import io
import zipfile
from typing import Any

import schemathesis
from hypothesis import strategies as st


def _zipped(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


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
    """A stream begins in one place."""
    return len({"from_beginning", "tail", "since"} & set(query or {})) < 2
