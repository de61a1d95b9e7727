"""What a noxfile.py installs for tests. It is read, never run."""

import ast
import re
from collections.abc import Iterator

from ci_server.detection.declarations.tox_ini import ToxEnvironment, take_line
from ci_server.detection.reading.literals import Evaluator, Names
from ci_server.detection.reading.requirements import is_identifier
from ci_server.detection.reading.statements import follow

NAME = "noxfile.py"
_TESTS = re.compile(r"(?:unit_?|py_?)?tests?|testing|pytest|unit", re.IGNORECASE)
_INDEX = ("-i", "--index-url", "--extra-index-url")
_WITH_VALUE = frozenset({*_INDEX, "-r", "-c", "-e", "--requirement", "--constraint", "--editable"})


def read_nox(text: str) -> ToxEnvironment:
    """Return what the sessions for tests install by `session.install`, as far as it is said in so many words."""
    evaluator, found = Evaluator(), ToxEnvironment(file=NAME)

    def on_call(call: ast.Call, names: Names, function: ast.FunctionDef | None) -> None:
        if function is None or not _is_for_tests(function):
            return
        match call.func:
            case ast.Attribute(value=ast.Name(id=session), attr="install") if session == _parameter(function):
                words = [word for argument in call.args for word in _words(argument, evaluator, names)]
                for line in _lines(words):
                    take_line(line, found)
            case ast.Attribute(attr="dependency_groups"):
                groups = [evaluator.value(argument, names) for argument in call.args[1:]]
                found.groups += [group for group in groups if isinstance(group, str) and is_identifier(group)]

    follow(text, NAME, evaluator, on_call)
    return found


def _is_for_tests(function: ast.FunctionDef) -> bool:
    """Tell whether a function is a session of Nox's whose name is one for tests."""
    for decorator in function.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        if isinstance(called, ast.Attribute) and called.attr == "session":
            pass
        elif not (isinstance(called, ast.Name) and called.id == "session"):
            continue
        keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
        named = [word.value.value for word in keywords if word.arg == "name" and isinstance(word.value, ast.Constant)]
        return _TESTS.fullmatch(str(named[0]) if named else function.name) is not None
    return False


def _parameter(function: ast.FunctionDef) -> str | None:
    return function.args.args[0].arg if function.args.args else None


def _words(argument: ast.expr, evaluator: Evaluator, names: Names) -> list[str]:
    value = evaluator.value(argument.value if isinstance(argument, ast.Starred) else argument, names)
    words = value if isinstance(value, list) else [value]
    return [word for word in words if isinstance(word, str)]


def _lines(words: list[str]) -> Iterator[str]:
    """Yield pip's arguments as the lines of a requirement file. Its other options are left out."""
    following = iter(words)
    for word in following:
        if word in _WITH_VALUE:
            yield f"{word} {next(following, '')}"
        elif not word.startswith("-") or word[:2] in ("-r", "-c", "-e") or word.partition("=")[0] in _INDEX:
            yield word
