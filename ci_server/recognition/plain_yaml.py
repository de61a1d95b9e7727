"""YAML as plain data: no aliases, which can make a small file a huge document, and no key given twice.

Of booleans it knows those of YAML 1.2, so that the key `on` and a variable's value `yes` are text.
"""

import re
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.resolver import Resolver

_BOOLEAN = "tag:yaml.org,2002:bool"


class _Plain(Composer, SafeConstructor, Resolver):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.events.AliasEvent):  # type: ignore[attr-defined]  # a parser's
            mark = self.peek_event().start_mark  # type: ignore[attr-defined]
            raise ConstructorError(None, None, "aliases are not taken", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping = super().construct_mapping(node, deep=deep)
        if len(mapping) != len(node.value):
            raise ConstructorError(None, None, "a key is given twice", node.start_mark)
        return mapping


_Plain.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOLEAN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Plain.add_implicit_resolver(_BOOLEAN, re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF"))


class _Loader(_Plain, yaml.SafeLoader):
    """Explains best what is wrong."""


if yaml.__with_libyaml__:

    class _QuickLoader(_Plain, yaml.CSafeLoader):
        """Takes a fifth of the time."""

        def __init__(self, text: str) -> None:
            yaml.CSafeLoader.__init__(self, text)
            Composer.__init__(self)


def load_plain(text: str) -> Any:
    """Return what the one document in `text` holds. Raises YAMLError, ValueError, RecursionError."""
    if yaml.__with_libyaml__:
        try:
            return yaml.load(text, _QuickLoader)  # noqa: S506  # which is a SafeLoader, as the other one is
        except yaml.YAMLError:
            pass  # The other one says what is wrong, or takes it.
    return yaml.load(text, _Loader)  # noqa: S506
