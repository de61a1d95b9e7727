"""From errors to HTTP answers (RFC 9457). Every error answer of the API is made here."""

import errno
import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from ci_common.access.keys import without_keys
from ci_common.errors import DatabaseUnavailable, FieldError, RequestError, Unavailable
from ci_common.parsing.models import MAX_ERRORS
from ci_common.parsing.text import printable
from ci_common.wire.problems import PROBLEM_MEDIA_TYPE

_LONGEST_DETAIL = 8192
_ROUTE_CODES = {404: "not_found", 405: "method_not_allowed"}
_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_NOT_WRITABLE = frozenset({errno.EPERM, errno.EACCES, errno.EROFS, errno.EIO})

logger = logging.getLogger(__name__)


def problem(
    status: int,
    code: str,
    title: str,
    detail: str,
    *,
    errors: tuple[FieldError, ...] = (),
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    """Return an `application/problem+json` answer; `more` are further members of the document."""
    detail = detail[:_LONGEST_DETAIL]
    document: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": detail, "code": code}
    if errors:
        document["errors"] = [{"path": e.path, "message": e.message} for e in errors[:MAX_ERRORS]]
    body = json.dumps(document | more).encode()
    return Response(body, status, dict(headers or {}), PROBLEM_MEDIA_TYPE)


def problem_of(error: RequestError) -> Response:
    """Return the answer to a request that failed with `error`."""
    headers = dict(error.headers)
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    headers |= error.more_headers
    detail = error.detail
    if isinstance(error, DatabaseUnavailable):
        logger.warning("a request cannot be taken: %s", error)
    return problem(error.status, error.code, error.title, detail, errors=error.errors, headers=headers, **error.figures)


def internal_problem(error_id: str) -> Response:
    """Return the answer after a bug. The server's log has `error_id` beside the stack trace."""
    detail = f"the server met an error of its own; its log tells more under {error_id}"
    return problem(500, "internal_error", "Internal error", detail, error_id=error_id)


def system_problem(error: OSError) -> Response | None:
    """Return the answer if the disk or the process has no room or may not write, else None."""
    if error.errno in _DISK_FULL:
        detail = f"the server's disk cannot take the request: {error.strerror}"
    elif error.errno in _NO_DESCRIPTORS:
        detail = f"the server has as many files open as it may: {error.strerror}"
    elif error.errno in _NOT_WRITABLE:
        detail = f"the server cannot write to its data directory: {error.strerror}"
    else:
        return None
    return problem_of(Unavailable(detail))


def routing_problem(method: str, path: str, error: HTTPException) -> Response:
    """Return the answer to a request that no endpoint takes."""
    status, shown = HTTPStatus(error.status_code), printable(without_keys(path))
    detail = {
        404: f"there is nothing at {shown}",
        405: f"{method} is not possible at {shown}",
    }.get(status, error.detail)
    return problem(status, _ROUTE_CODES.get(status, "http_error"), status.phrase, detail, headers=error.headers)
