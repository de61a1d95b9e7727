"""Poetry's constraints as version specifiers, by the examples of its documentation."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.version import Version
from poetry.core.constraints.version import Version as PoetryVersion
from poetry.core.factory import Factory

from ci_server.detection.declarations.poetry import poetry_requirements, specifier

NUMBERS = st.lists(st.integers(0, 3), min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts)))
SINGLE = st.builds(
    "{}{}".format, st.sampled_from(["^", "~", ">=", "<", "<=", ">", "==", "!=", "", "^ ", ">= "]), NUMBERS
)
WILD = NUMBERS.map(lambda text: f"{text}.*")
CONSTRAINTS = st.one_of(SINGLE, WILD, st.just("*"), st.lists(SINGLE, min_size=2, max_size=3).map(", ".join))
VERSIONS = [Version(f"{one}.{two}.{three}") for one in range(5) for two in range(5) for three in range(5)]


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        ("^1.2.3", ">=1.2.3,<2"), ("^1.2", ">=1.2,<2"), ("^1", ">=1,<2"),
        ("^0.2.3", ">=0.2.3,<0.3"), ("^0.0.3", ">=0.0.3,<0.0.4"), ("^0.0", ">=0.0,<0.1"), ("^0", ">=0,<1"),
        ("~1.2.3", ">=1.2.3,<1.3"), ("~1.2", ">=1.2,<1.3"), ("~1", ">=1,<2"),
        ("^2.0b1", ">=2.0b1,<3"), ("^ 1.5", ">=1.5,<2"),
        ("*", ""), ("1.*", "==1.*"), ("1.2.3", "==1.2.3"), ("=1.2", "==1.2"), ("~=1.4", "~=1.4"),
        (">=1.2,<2", ">=1.2,<2"), (">= 1.2, != 1.3", ">=1.2,!=1.3"), (">=1 <2", ">=1,<2"), ("^1 || ^2", ""),
    ],
)  # fmt: skip
def test_constraints(constraint: str, expected: str) -> None:
    assert specifier(constraint) == expected
    Requirement(f"x{expected}")


def test_dependencies_that_are_tables() -> None:
    found = poetry_requirements(
        {
            "Python": "^3.9",
            "a": {"version": "^1.0", "extras": ["x", "y"], "python": "^3.8", "markers": "os_name == 'posix' or a"},
            "b": {"git": "https://example.org/b.git", "tag": "v1"},
            "c": {"path": "../c", "develop": True},
            "d": [{"version": "1", "python": "<3.9"}, {"version": "2", "python": ">=3.9"}],
            "e": {"url": "https://example.org/e.whl"},
            "f": 3,
        }
    )
    assert found == [
        "a[x,y]>=1.0,<2 ; (os_name == 'posix' or a) and python_full_version >= '3.8' and python_full_version < '4'",
        "b @ git+https://example.org/b.git@v1",
        "d==1 ; python_full_version < '3.9'",
        "d==2 ; python_full_version >= '3.9'",
        "e @ https://example.org/e.whl",
        "c",
    ]


@settings(max_examples=100, deadline=None)
@given(CONSTRAINTS)
def test_constraints_allow_what_poetry_allows(constraint: str) -> None:
    ours = Requirement(f"x{specifier(constraint)}").specifier
    theirs: Any = Factory.create_dependency("x", constraint)
    allowed = [version for version in VERSIONS if theirs.constraint.allows(PoetryVersion.parse(str(version)))]
    assert list(ours.filter(VERSIONS)) == allowed


def test_only_what_is_asked_for() -> None:
    table = {
        "a": "1",
        "b": {"version": "2", "optional": True},
        "C_d": {"version": "3", "optional": True, "platform": "linux"},
        "e": {"path": "../e", "optional": True, "extras": ["x"]},
        "f": {"path": "../f", "python": ">=3.9"},
    }
    assert poetry_requirements(table) == ["a==1", "f ; python_full_version >= '3.9'"]
    assert poetry_requirements(table, {"c-d", "e"}) == ["C_d==3 ; sys_platform == 'linux'", "e[x]"]


@pytest.mark.parametrize(
    ("git", "expected"),
    [
        ({"git": "git@example.org:a/b.git", "rev": "1f"}, "x @ git+ssh://git@example.org/a/b.git@1f"),
        ({"git": "ssh://git@example.org/a/b.git"}, "x @ git+ssh://git@example.org/a/b.git"),
        ({"git": "https://e.org/b", "subdirectory": "s", "branch": "m"}, "x @ git+https://e.org/b@m#subdirectory=s"),
    ],
)
def test_repositories(git: dict[str, str], expected: str) -> None:
    assert poetry_requirements({"x": git}) == [expected]
    Requirement(expected)


def test_a_number_without_end_is_no_version() -> None:
    with pytest.raises(ValueError, match="9999"):
        Requirement(f"x{specifier('^' + '9' * 5000)}")
