"""What a setup.py says in so many words. It is read, never run."""

import ast
from dataclasses import dataclass, field

from ci_server.detection.reading.literals import Evaluator, Names, texts
from ci_server.detection.reading.statements import follow

NAME = "setup.py"


@dataclass(slots=True)
class SetupArguments:
    """What the project and its tests need, of the arguments of `setup()`."""

    extras: dict[str, list[str]] = field(default_factory=dict)
    """`extras_require`: name → requirements, as far as they can be read."""
    tests_require: list[str] = field(default_factory=list)
    name: str = ""
    install_requires: list[str] = field(default_factory=list)


def read_setup_py(text: str) -> SetupArguments:
    """Return the arguments that are put together from literals. The rest counts as not said.

    Raises InvalidRequest where they would become too large.
    """
    evaluator, found = Evaluator(), SetupArguments()

    def on_call(call: ast.Call, names: Names, _: ast.FunctionDef | None) -> None:
        match call.func:
            case ast.Name(id="setup") | ast.Attribute(attr="setup"):
                arguments = evaluator.keywords(call.keywords, names)
                extras = arguments.get("extras_require")
                if isinstance(extras, dict):
                    found.extras |= {name: texts(value) for name, value in extras.items()}
                found.install_requires += texts(arguments.get("install_requires"))
                found.tests_require += texts(arguments.get("tests_require"))
                if isinstance(arguments.get("name"), str):
                    found.name = arguments["name"]

    follow(text, NAME, evaluator, on_call)
    return found
