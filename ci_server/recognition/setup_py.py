"""What a setup.py says in so many words. It is read, never run."""

import ast
import warnings
from collections import ChainMap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ci_server.recognition.literals import Evaluator, Names, TooMuch, texts
from ci_server.recognition.requirements import invalid

NAME = "setup.py"


@dataclass(slots=True)
class SetupArguments:
    """What tests need, of the arguments of `setup()`."""

    extras: dict[str, list[str]] = field(default_factory=dict)
    """`extras_require`: name → requirements, as far as they can be read."""
    tests_require: list[str] = field(default_factory=list)
    name: str = ""


def read_setup_py(text: str) -> SetupArguments:
    """Return the arguments that are put together from literals. The rest counts as not said.

    Raises InvalidRequest where they would become too large.
    """
    reader = _Reader()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = ast.parse(text)
        reader.take(module.body, ChainMap({}))
    except TooMuch as exc:
        raise invalid(NAME, str(exc)) from exc
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return SetupArguments()
    return reader.found


class _Reader:
    def __init__(self) -> None:
        self._evaluator = Evaluator()
        self.found = SetupArguments()

    def take(self, statements: list[ast.stmt], names: Names, *, certain: bool = True) -> None:
        """Follow the statements. Of those that may not run, only what names nothing known counts."""
        for statement in statements:
            for value in _expressions(statement):
                for call in ast.walk(value):
                    self._call(call, names, certain=certain)
            if certain or not _targets(statement) & names.keys():
                self._assign(statement, names)
            self._enter(statement, names, certain=certain)

    def _enter(self, statement: ast.stmt, names: Names, *, certain: bool) -> None:
        match statement:
            case ast.FunctionDef(body=body) | ast.AsyncFunctionDef(body=body):
                self.take(body, names.new_child(), certain=certain)
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
        match node:
            case ast.Call(func=ast.Name(id="setup") | ast.Attribute(attr="setup")):
                self._setup(node, names)
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method)) if certain and name in names:
                names[name] = self._evaluator.changed(names[name], method, node, names)

    def _setup(self, call: ast.Call, names: Names) -> None:
        arguments = self._evaluator.keywords(call.keywords, names)
        extras = arguments.get("extras_require")
        if isinstance(extras, dict):
            self.found.extras |= {name: texts(value) for name, value in extras.items()}
        self.found.tests_require += texts(arguments.get("tests_require"))
        if isinstance(arguments.get("name"), str):
            self.found.name = arguments["name"]


def _expressions(statement: ast.stmt) -> Iterator[ast.expr]:
    """Yield the expressions of a statement without those of the statements in it."""
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
    """Tell whether a condition holds where setup.py is run."""
    match test:
        case ast.Constant(value=value):
            return bool(value)
        case ast.Compare(left=ast.Name(id="__name__"), ops=[ast.Eq()]):
            return True
    return False
