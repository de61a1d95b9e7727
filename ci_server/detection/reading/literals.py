"""Evaluates Python expressions that combine literals, without running them and within limits of size."""

import ast
import operator
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Names = ChainMap[str, Any]

_MAX_ELEMENTS = 2000
_MAX_CHARACTERS = 64 * 1024
_MAX_WORK = 100_000
_COPIES = frozenset({"list", "set", "tuple", "sorted", "frozenset", "chain", "from_iterable", "copy", "deepcopy"})


class TooMuch(Exception):
    """The value of an expression is too large for requirements of a project."""


class Evaluator:
    """Returns the values of expressions: texts, lists, and dictionaries with text keys. All other values are None.

    Sets and tuples count as lists. Raises TooMuch if all values together are too large.
    """

    def __init__(self) -> None:
        self._work = 0

    def counted(self, value: Any) -> Any:
        """Return the value. Raises TooMuch if it is too large, or all values so far are."""
        if isinstance(value, list | dict) and len(value) > _MAX_ELEMENTS:
            raise TooMuch(f"a value in it has more than {_MAX_ELEMENTS} elements")
        if isinstance(value, str) and len(value) > _MAX_CHARACTERS:
            raise TooMuch(f"a text in it is longer than {_MAX_CHARACTERS} characters")
        size = len(value) if isinstance(value, list | dict) else len(value) // 100 if isinstance(value, str) else 0
        self._spend(1 + size)
        return value

    def value(self, node: ast.expr, names: Names) -> Any:
        """Return the value of an expression; None if it is not known."""
        self._spend(1)
        match node:
            case ast.Constant(value=str() as text):
                return self.counted(text)
            case ast.Name(id=name):
                return names.get(name)
            case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
                return self.counted(list(self._elements(elements, names)))
            case ast.Dict():
                return self.counted(self._dictionary(node, names))
            case ast.BinOp(left=left, op=ast.Add() | ast.BitOr(), right=right):
                return self.counted(_joined(self.value(left, names), self.value(right, names)))
        return self._less_usual(node, names)

    def keywords(self, keywords: Iterable[ast.keyword], names: Names) -> dict[str, Any]:
        """Return the keyword arguments of a call, including those in `**`."""
        found: dict[str, Any] = {}
        for keyword in keywords:
            value = self.value(keyword.value, names)
            if keyword.arg is not None:
                found[keyword.arg] = value
            elif isinstance(value, dict):
                found |= value
        return self.counted(found)  # type: ignore[no-any-return]

    def changed(self, held: Any, method: str, call: ast.Call, names: Names) -> Any:
        """Return a value after a call of one of its methods."""
        arguments = [self.value(argument, names) for argument in call.args]
        match held, method, arguments:
            case list(), "append" | "add", [element]:
                return self.counted([*held, element])
            case (list(), "extend" | "update", [list() as more]) | (list(), "insert", [_, str() as more]):
                return self.counted(held + ([more] if isinstance(more, str) else more))
            case dict(), "update", _:
                given = [argument for argument in arguments if isinstance(argument, dict)]
                return self.counted(_merged(held, *given, self.keywords(call.keywords, names)))
            case dict(), "setdefault", [str() as key, value]:
                return self.counted({key: value, **held})
        return held

    def _less_usual(self, node: ast.expr, names: Names) -> Any:
        match node:
            case ast.Call():
                return self.counted(self._call(node, names))
            case ast.Subscript(value=held, slice=key):
                return _item(self.value(held, names), self.value(key, names))
            case ast.IfExp(body=body, orelse=otherwise):
                return self._first((body, otherwise), names)
            case ast.BoolOp(values=values):
                return self._first(values, names)
            case ast.NamedExpr(value=value):
                return self.value(value, names)
            case ast.ListComp(elt=element) | ast.SetComp(elt=element) | ast.GeneratorExp(elt=element):
                found: list[Any] = []
                self._comprehend(node.generators, names, lambda scope: self._add(found, self.value(element, scope)))
                return found
            case ast.DictComp(key=key, value=value):
                return self._dictionary_comprehension(node, key, value, names)
        return None

    def _dictionary_comprehension(self, node: ast.DictComp, key: ast.expr, value: ast.expr, names: Names) -> Any:
        entries: dict[str, Any] = {}

        def add(scope: Names) -> None:
            name = self.value(key, scope)
            if isinstance(name, str):
                entries[name] = self.value(value, scope)

        self._comprehend(node.generators, names, add)
        return self.counted(entries)

    def _call(self, node: ast.Call, names: Names) -> Any:
        arguments = list(self._elements(node.args, names))
        match node.func:
            case ast.Name(id="dict"):
                given = [argument for argument in arguments if isinstance(argument, dict)]
                return _merged(*given, self.keywords(node.keywords, names))
            case ast.Name(id="sum"):
                return self._flat(arguments[:1])
            case ast.Name(id="chain") | ast.Attribute(attr="chain"):
                return self._flat([arguments])
            case ast.Attribute(attr="from_iterable"):
                return self._flat(arguments[:1])
            case ast.Name(id=name) if name in _COPIES and arguments:
                return _as_list(arguments[0]) if name not in ("copy", "deepcopy") else arguments[0]
            case ast.Attribute(value=held, attr=method):
                return self._method(self.value(held, names), method, arguments)
        return None

    def _method(self, held: Any, method: str, arguments: list[Any]) -> Any:
        match held, method, arguments:
            case dict(), "values", []:
                return list(held.values())
            case dict(), "keys", []:
                return list(held)
            case dict(), "items", []:
                return [[key, value] for key, value in held.items()]
            case dict(), "get" | "pop", [str() as key, *_]:
                return held.get(key)
            case ((dict() | list()), "copy", []):
                return held
            case list(), "union", _:
                return self._flat([[held, *arguments]])
            case str(), "split" | "splitlines", ([] | [str()]):
                return (
                    held.splitlines()
                    if method == "splitlines"
                    else held.split(arguments[0] or None if arguments else None)
                )
            case str(), "strip", []:
                return held.strip()
        return None

    def _flat(self, lists: list[Any]) -> list[Any]:
        found: list[Any] = []
        for inner in lists[0] if lists and isinstance(lists[0], list) else ():
            for element in inner if isinstance(inner, list) else ():
                self._add(found, element)
        return found

    def _elements(self, nodes: Iterable[ast.expr], names: Names) -> Iterator[Any]:
        for node in nodes:
            if isinstance(node, ast.Starred):
                yield from self.counted(_as_list(self.value(node.value, names)))
            else:
                yield self.value(node, names)

    def _dictionary(self, node: ast.Dict, names: Names) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            held = self.value(value, names)
            name = None if key is None else self.value(key, names)
            if key is None and isinstance(held, dict):
                found |= self.counted(held)
            elif isinstance(name, str):
                found[name] = held
        return found

    def _comprehend(self, generators: list[ast.comprehension], names: Names, add: Callable[[Names], None]) -> None:
        if not generators:
            add(names)
            return
        first = generators[0]
        for element in _as_list(self.value(first.iter, names)):
            self._spend(1)
            match first.target:
                case ast.Name(id=name):
                    scope = names.new_child({name: element})
                case ast.Tuple(elts=targets) if isinstance(element, list):
                    ids = (target.id if isinstance(target, ast.Name) else "" for target in targets)
                    scope = names.new_child(dict(zip(ids, element, strict=False)))
                case _:
                    return
            self._comprehend(generators[1:], scope, add)

    def _first(self, nodes: Iterable[ast.expr], names: Names) -> Any:
        return next((value for node in nodes if (value := self.value(node, names)) is not None), None)

    def _add(self, found: list[Any], element: Any) -> None:
        found.append(element)
        self._spend(1)
        if len(found) > _MAX_ELEMENTS:
            self.counted(found)

    def _spend(self, work: int) -> None:
        self._work += work
        if self._work > _MAX_WORK:
            raise TooMuch("its values take too many steps to compute")


def texts(value: Any) -> list[str]:
    """Return the texts in a list, or the lines of a text."""
    lines = value.splitlines() if isinstance(value, str) else value if isinstance(value, list) else []
    return [line.strip() for line in lines if isinstance(line, str) and line.strip()]


def _joined(left: Any, right: Any) -> Any:
    """Return the sum of two values; if only one of them is known, return that."""
    for kind in (str, list, dict):
        if isinstance(left, kind) and isinstance(right, kind):
            if len(left) + len(right) > _MAX_CHARACTERS:
                raise TooMuch("a value in it is too long")
            return operator.or_(left, right) if kind is dict else operator.add(left, right)
    known = [value for value in (left, right) if isinstance(value, list | dict)]
    return known[0] if len(known) == 1 else None


def _merged(*dictionaries: dict[str, Any]) -> dict[str, Any]:
    return {key: value for dictionary in dictionaries for key, value in dictionary.items()}


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | dict) else []


def _item(held: Any, key: Any) -> Any:
    return held.get(key) if isinstance(held, dict) and isinstance(key, str) else None
