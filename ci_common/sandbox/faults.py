"""Errors on their way from a reader to the process that asked."""

import errno
from collections.abc import Iterator
from typing import Any

from ci_common.errors import FieldError, InvalidRequest, RequestError

OF_THE_UPLOAD = frozenset(
    {errno.ENAMETOOLONG, errno.ELOOP, errno.EILSEQ, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EINVAL}
)
"""What the system says of names and links that it cannot have; all else is about the disk."""


def as_message(error: RequestError | OSError) -> dict[str, Any]:
    """Return what `as_error` makes the same error of."""
    if isinstance(error, OSError):
        return {"errno": error.errno, "text": error.strerror or str(error), "path": _text(error.filename)}
    return {
        "class": type(error).__name__,
        "text": str(error),
        "errors": [[field.path, field.message] for field in error.errors],
    }


def as_error(message: dict[str, Any]) -> Exception:
    """Return the error that a message stands for."""
    if "errno" in message:
        return OSError(message["errno"], message["text"], message["path"])
    kinds = {kind.__name__: kind for kind in _kinds(RequestError)}
    errors = (FieldError(str(path), str(text)) for path, text in message["errors"])
    return kinds.get(message["class"], InvalidRequest)(str(message["text"]), *errors)


def _kinds(kind: type[RequestError]) -> Iterator[type[RequestError]]:
    for child in kind.__subclasses__():
        if child.__init__ is RequestError.__init__:
            yield child
        yield from _kinds(child)


def _text(path: object) -> str | None:
    return None if path is None else str(path)
