"""Reads a project's `ci.yaml` into a `Spec`."""

import os
import re
from pathlib import Path
from typing import Any

import yaml

from ci_common.errors import FieldError, InvalidRequest
from ci_common.layout import read_capped
from ci_common.spec import Spec
from ci_common.validation import validated

NAME = "ci.yaml"
_MAX_BYTES = 256 * 1024


_BOOLEAN = "tag:yaml.org,2002:bool"


class _Loader(yaml.SafeLoader):
    """YAML as plain data: no aliases, which can make a small file a huge document, and no key given twice.

    Of booleans it knows those of YAML 1.2, so that the key `on` and a variable's value `yes` are text.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.constructor.ConstructorError(None, None, "aliases are not taken", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping = super().construct_mapping(node, deep=deep)
        if len(mapping) != len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "a key is given twice", node.start_mark)
        return mapping


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOLEAN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOLEAN, re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF"))


def read_ci_yaml(directory: Path, *, root: Path) -> Spec | None:
    """Return what the `ci.yaml` in `directory` says, or None where there is none.

    A link is followed only to a file below `root`. Raises InvalidRequest with the path of every field at fault.
    """
    path = directory / NAME
    if not os.path.lexists(path):
        return None
    real = path.resolve()
    raw = read_capped(real, _MAX_BYTES + 1) if real.is_relative_to(root.resolve()) else None
    if raw is None:
        raise _invalid("it is not a file of the project")
    if len(raw) > _MAX_BYTES:
        raise _invalid(f"it is longer than {_MAX_BYTES} bytes")
    try:
        # The loader is a SafeLoader.
        document = yaml.load(raw.decode("utf-8-sig"), _Loader)  # noqa: S506
    except UnicodeDecodeError as exc:
        raise _invalid(f"it is not UTF-8: {exc.reason} at byte {exc.start}") from exc
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise _invalid(f"it is not valid YAML: {' '.join(str(exc).split()) or 'it is nested too deeply'}") from exc
    if document is None:
        return Spec()
    if not isinstance(document, dict):
        raise _invalid("it does not hold a mapping of fields, as in `image: python:3.12-slim`")
    return validated(Spec, document, source=NAME)


def _invalid(message: str) -> InvalidRequest:
    return InvalidRequest(f"{NAME} cannot be used: {message}", FieldError(NAME, message))
