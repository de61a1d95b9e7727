"""Poetry's constraints as version specifiers, by the examples of its documentation."""

import pytest
from packaging.requirements import Requirement

from ci_server.recognition.poetry import poetry_requirements, specifier


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
    ]
