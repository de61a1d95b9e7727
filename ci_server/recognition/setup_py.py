"""What a setup.py says in so many words. It is read, never run."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class SetupArguments:
    """What tests need, of the arguments of `setup()`."""

    extras: dict[str, list[str]] = field(default_factory=dict)
    """`extras_require`: name → requirements, as far as they can be read."""
    tests_require: list[str] = field(default_factory=list)


def read_setup_py(text: str) -> SetupArguments:
    """Return the arguments that are literals, or names and sums of literals. The rest counts as not said."""
    try:
        module = ast.parse(text)
        reader = _Reader()
        for statement in module.body:
            reader.take(statement)
        return reader.found
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return SetupArguments()


class _Reader:
    def __init__(self) -> None:
        self._names: dict[str, Any] = {}
        self.found = SetupArguments()

    def take(self, statement: ast.stmt) -> None:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self._names[name] = self._value(value)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                self._names[name] = self._value(value)
            case ast.Assign(targets=[ast.Subscript(value=ast.Name(id=name), slice=key)], value=value):
                if isinstance(self._names.get(name), dict):
                    self._names[name][self._value(key)] = self._value(value)
        for call in _setup_calls(statement):
            self._setup(call)

    def _setup(self, call: ast.Call) -> None:
        arguments: dict[Any, Any] = {}
        for keyword in call.keywords:
            value = self._value(keyword.value)
            arguments |= value if keyword.arg is None and isinstance(value, dict) else {keyword.arg: value}
        extras = arguments.get("extras_require")
        if isinstance(extras, dict):
            self.found.extras |= {name: _strings(value) for name, value in extras.items() if isinstance(name, str)}
        self.found.tests_require += _strings(arguments.get("tests_require"))

    def _value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return self._names.get(name)
            case ast.List(elts=elements) | ast.Tuple(elts=elements):
                return [self._value(element) for element in elements]
            case ast.Dict(keys=keys, values=values):
                return {key.value: self._value(value) for key, value in zip(keys, values, strict=True)
                        if isinstance(key, ast.Constant)}  # fmt: skip
            case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords):
                return {keyword.arg: self._value(keyword.value) for keyword in keywords if keyword.arg}
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return _strings(self._value(left)) + _strings(self._value(right))
        return None


def _setup_calls(statement: ast.stmt) -> Iterator[ast.Call]:
    for node in ast.walk(statement):
        match node:
            case ast.Call(func=ast.Name(id="setup") | ast.Attribute(attr="setup")):
                yield node


def _strings(value: Any) -> list[str]:
    lines = value.splitlines() if isinstance(value, str) else value if isinstance(value, list) else []
    return [line.strip() for line in lines if isinstance(line, str) and line.strip()]
