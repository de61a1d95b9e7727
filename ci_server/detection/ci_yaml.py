"""Reads a project's `ci.yaml` into a `Spec`."""

import os
from functools import partial
from pathlib import Path

from ci_common.errors import FieldError, InvalidRequest
from ci_common.parsing.models import path_of, validated
from ci_common.parsing.values import Plain
from ci_common.run_directory.layout import read_capped
from ci_common.spec import Spec
from ci_server.detection.reading.plain_yaml import NotPlain, load_plain, locate

NAME = "ci.yaml"
_MAX_BYTES = 256 * 1024


def read_ci_yaml(directory: Path, *, root: Path) -> Spec | None:
    """Return what the `ci.yaml` in `directory` says, or None where there is none.

    A link is followed only to a file below `root`. Raises InvalidRequest with the path of every field at fault.
    """
    path = directory / NAME
    if not os.path.lexists(path):
        return None
    real = Path(os.path.realpath(path))  # Unlike `resolve`, it takes links that lead in a circle.
    raw = read_capped(real, _MAX_BYTES + 1) if real.is_relative_to(root.resolve()) else None
    if raw is None:
        raise _invalid("it is not a file of the project")
    if len(raw) > _MAX_BYTES:
        raise _invalid(f"it is longer than {_MAX_BYTES} bytes")
    try:
        text = raw.decode("utf-8-sig")
        document = load_plain(text)
    except UnicodeDecodeError as exc:
        raise _invalid(f"it is not UTF-8: {exc.reason} at byte {exc.start}") from exc
    except NotPlain as exc:
        raise _invalid(f"it is not valid YAML: {exc}", path_of(exc.place)) from exc
    if document is None or (isinstance(document, Plain) and document.is_null):
        return Spec()
    if not isinstance(document, dict):
        raise _invalid("it does not hold a mapping of fields, as in `image: python:3.12-slim`")
    return validated(Spec, document, source=NAME, locate=partial(locate, text))


def _invalid(message: str, path: str = "") -> InvalidRequest:
    return InvalidRequest(f"{NAME} cannot be used: {message}", FieldError(path or NAME, message))
