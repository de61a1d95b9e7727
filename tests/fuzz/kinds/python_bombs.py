"""Small files of Python projects that take much time or memory to evaluate."""

from collections.abc import Callable

from tests.fuzz.choices import Choices

_LONG_CHAIN = (10, 300, 1_000, 3_000)
_DOUBLINGS = (5, 14, 20, 24, 40)


def _dotted_key(choices: Choices) -> str:
    return "a." * choices.pick((100, 10_000, 20_000, 100_000)) + "a=1"


def _dotted_table(choices: Choices) -> str:
    return "[" + "a." * choices.pick((100, 10_000, 50_000)) + "a]\nb=1"


def _nested(choices: Choices) -> str:
    depth = choices.pick((50, 500, 5_000, 50_000))
    return choices.pick(("a=" + "[" * depth + "]" * depth, "a=" + "{a=" * depth + "1" + "}" * depth))


def _groups_twice(choices: Choices) -> str:
    """Return groups that each include the next one twice."""
    depth = choices.pick(_DOUBLINGS)
    lines = [f'g{n} = [{{include-group = "g{n + 1}"}}, {{include-group = "g{n + 1}"}}]' for n in range(depth)]
    lines[0] = lines[0].replace("g0", "test", 1)
    return "\n".join(["[dependency-groups]", *lines, f'g{depth} = ["pytest"]'])


def _groups_in_a_chain(choices: Choices) -> str:
    depth = choices.pick(_LONG_CHAIN)
    lines = [f'{"test" if n == 0 else f"g{n}"} = [{{include-group = "g{n + 1}"}}]' for n in range(depth)]
    return "\n".join(["[dependency-groups]", *lines, f'g{depth} = ["pytest"]'])


def _extras_of_itself(choices: Choices) -> str:
    """Return extras that name the project's others: in a chain, or each all of them."""
    lines = ["[project]", 'name = "demo"', "[project.optional-dependencies]"]
    if choices.chance(50):
        depth = choices.pick(_LONG_CHAIN)
        lines += [f'{"test" if n == 0 else f"e{n}"} = ["demo[e{n + 1}]"]' for n in range(depth)]
    else:
        names = ["test", *(f"e{n}" for n in range(choices.pick((2, 7, 14, 16))))]
        lines += [f'{name} = ["demo[{",".join(names)}]", "demo[{",".join(names)}]"]' for name in names]
    return "\n".join(lines)


def _many_requirements(choices: Choices) -> str:
    number = choices.pick((1_000, 30_000, 60_000))
    return '[dependency-groups]\ntest = ["pytest", ' + ", ".join(f'"a{n}"' for n in range(number)) + "]"


def _doubled(choices: Choices) -> str:
    start, setup = choices.pick(
        (('["a"]', "tests_require=x"), ('"a\\n"', "tests_require=x"), ("{'test': ['a']}", "**x"))
    )
    return f"x={start}\n" + "x=x+x\n" * choices.pick(_DOUBLINGS) + f"setup({setup})"


def _nested_twice(choices: Choices) -> str:
    return 'x=["a"]\n' + "x=[x, x]\n" * choices.pick(_DOUBLINGS) + "setup(tests_require=x, extras_require={'test': x})"


def _deep_expression(choices: Choices) -> str:
    depth = choices.pick((90, 1_000, 20_000))
    opening = choices.pick(("-", "~", "not ", "[", "(", "x.", "a+", "f(", "lambda: "))
    return f"x = {opening * depth}1\nsetup(tests_require=x)"


def _many_calls(choices: Choices) -> str:
    number = choices.pick((100, 5_000))
    return 'x=["a"' + ',"a"' * number + "]\n" + "setup(tests_require=x)\n" * number


PYPROJECT_BOMBS: tuple[Callable[[Choices], str], ...] = (
    _dotted_key,
    _dotted_table,
    _nested,
    _groups_twice,
    _groups_in_a_chain,
    _extras_of_itself,
    _many_requirements,
)
SETUP_PY_BOMBS: tuple[Callable[[Choices], str], ...] = (_doubled, _nested_twice, _deep_expression, _many_calls)
