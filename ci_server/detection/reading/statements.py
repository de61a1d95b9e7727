"""Follows the statements of a Python file, for the values of its names and calls, without running it."""

import ast
import warnings
from collections import ChainMap
from collections.abc import Callable, Iterator
from typing import Any

from ci_server.detection.reading.literals import Evaluator, Names, TooMuch
from ci_server.detection.reading.requirements import invalid

_MAX_CHARACTERS = 256 * 1024

OnCall = Callable[[ast.Call, Names, "ast.FunctionDef | None"], None]
"""Receives each call, the names in its scope, and the function that contains it."""


def follow(text: str, file: str, evaluator: Evaluator, on_call: OnCall) -> None:
    """Follow the statements of a file; do nothing if it is not Python.

    Raises InvalidRequest if its values become too large.
    """
    if len(text) > _MAX_CHARACTERS:
        raise invalid(file, f"it is longer than {_MAX_CHARACTERS} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = ast.parse(text)
        _Follower(evaluator, on_call).take(module.body, ChainMap({}))
    except TooMuch as exc:
        raise invalid(file, str(exc)) from exc
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return


class _Follower:
    def __init__(self, evaluator: Evaluator, on_call: OnCall) -> None:
        self._evaluator = evaluator
        self._on_call = on_call
        self._function: ast.FunctionDef | None = None

    def take(self, statements: list[ast.stmt], names: Names, *, certain: bool = True) -> None:
        """Follow the statements. Those that may not run (not `certain`) only set names that have no value yet."""
        for statement in statements:
            for value in _expressions(statement):
                for call in ast.walk(value):
                    self._call(call, names, certain=certain)
            if certain or not any(name in names for name in _targets(statement)):
                self._assign(statement, names)
            self._enter(statement, names, certain=certain)

    def _enter(self, statement: ast.stmt, names: Names, *, certain: bool) -> None:
        match statement:
            case ast.FunctionDef(body=body):
                around, self._function = self._function, statement
                self.take(body, names.new_child(), certain=certain)
                self._function = around
            case ast.If(test=test, body=body, orelse=otherwise):
                self.take(body, names, certain=certain and _is_main(test))
                self.take(otherwise, names, certain=False)
            case ast.Try(body=body, handlers=handlers, orelse=otherwise, finalbody=final):
                self.take([*body, *otherwise, *final], names, certain=certain)
                for handler in handlers:
                    self.take(handler.body, names, certain=False)
            case ast.With(body=body) | ast.For(body=body) | ast.While(body=body):
                self.take(body, names, certain=certain and isinstance(statement, ast.With))

    def _assign(self, statement: ast.stmt, names: Names) -> None:
        evaluate = self._evaluator.value
        match statement:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self._bind(target, evaluate(value, names), names)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._bind(target, evaluate(value, names), names)
            case ast.AugAssign(target=ast.Name(id=name) as target, op=operator, value=value):
                before = ast.Name(id=name, ctx=ast.Load())
                self._bind(target, evaluate(ast.BinOp(left=before, op=operator, right=value), names), names)

    def _bind(self, target: ast.expr, value: Any, names: Names) -> None:
        match target:
            case ast.Name(id=name):
                names[name] = value
            case ast.Subscript(value=ast.Name(id=name), slice=key):
                held, text = names.get(name), self._evaluator.value(key, names)
                if isinstance(held, dict) and isinstance(text, str):
                    names[name] = self._evaluator.counted({**held, text: value})
            case ast.Tuple(elts=targets) | ast.List(elts=targets) if isinstance(value, list):
                for one, part in zip(targets, value, strict=False):
                    self._bind(one, part, names)

    def _call(self, node: ast.AST, names: Names, *, certain: bool) -> None:
        if not isinstance(node, ast.Call):
            return
        self._on_call(node, names, self._function)
        match node.func:
            case ast.Attribute(value=ast.Name(id=name), attr=method) if certain and name in names:
                names[name] = self._evaluator.changed(names[name], method, node, names)


def _expressions(statement: ast.stmt) -> Iterator[ast.expr]:
    """Yield the expressions of a statement, without those of nested statements."""
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, ast.expr):
            yield child


def _targets(statement: ast.stmt) -> set[str]:
    match statement:
        case ast.Assign(targets=targets):
            pass
        case ast.AnnAssign(target=target) | ast.AugAssign(target=target):
            targets = [target]
        case _:
            return set()
    return {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}


def _is_main(test: ast.expr) -> bool:
    """Return whether a condition holds when setup.py is run."""
    match test:
        case ast.Constant(value=value):
            return bool(value)
        case ast.Compare(left=ast.Name(id="__name__"), ops=[ast.Eq()]):
            return True
    return False
