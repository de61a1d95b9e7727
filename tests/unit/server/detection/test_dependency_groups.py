"""Dependency groups, against the standard's own implementation, and inputs that grow without end."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.dependency_groups import resolve_dependency_groups
from packaging.requirements import Requirement

from ci_server.detection.declarations.dependency_groups import GroupError, Groups

NAMES = st.sampled_from(["a", "B", "c_d", "C.D", "e"])
ENTRIES = st.one_of(
    st.sampled_from(["one", "two>1", "three ; os_name == 'nt'"]),
    st.fixed_dictionaries({"include-group": NAMES}),
    st.sampled_from([3, {}, {"include-group": 1}, {"include-group": "a", "x": 1}, {"path": "x"}]),
)


def groups_of(table: Any, **tools: Any) -> Groups:
    return Groups({"dependency-groups": table, "tool": tools}, {}, "thing")


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(NAMES, st.lists(ENTRIES, max_size=4), max_size=4))
def test_groups_are_the_standards(table: dict[str, list[Any]]) -> None:
    names = {name.lower().replace("_", "-").replace(".", "-") for name in table}
    if len(names) < len(table):
        return
    for name in names:
        try:
            theirs = list(dict.fromkeys(resolve_dependency_groups(table, name)))
        except Exception:
            with pytest.raises(GroupError):
                groups_of(table)[name]
            continue
        assert [str(Requirement(text)) for text in groups_of(table)[name]] == theirs


def test_groups_that_name_others_twice_stay_small() -> None:
    table = {f"g{n}": [{"include-group": f"g{n + 1}"}] * 2 for n in range(60)} | {"g60": ["a"]}
    assert groups_of(table)["g0"] == ["a"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({f"g{n}": [{"include-group": f"g{n + 1}"}] for n in range(1000)} | {"g1000": []}, "more than 100 deep"),
        ({"g0": [f"a{n}" for n in range(1001)]}, "more than 1000 requirements"),
        ({"g0": "a"}, "not a list"),
        ({"g0": [["a"]]}, "neither a requirement nor a group to include"),
    ],
)
def test_groups_that_are_not_taken(table: dict[str, Any], message: str) -> None:
    with pytest.raises(GroupError, match=message):
        groups_of(table)["g0"]


def test_environments_of_hatch() -> None:
    hatch = {
        "envs": {
            "default": {"dependencies": ["pytest"], "features": ["fast"]},
            "test": {"extra-dependencies": ["mock"], "dependency-groups": ["more"]},
            "tests": {"dependencies": ["own"], "detached": True},
            "testing": {"template": "other"},
            "other": {"dependencies": ["templated"]},
            "hatch-test": {"extra-dependencies": ["beside"]},
        }
    }
    groups = Groups({"dependency-groups": {"more": ["m"], "test": ["standard"]}}, hatch, "thing")
    assert groups["dev"] == ["pytest", "thing[fast]"]
    assert groups["test"] == ["standard", "beside", "pytest", "mock", "thing[fast]", "m", "own", "templated"]


def test_groups_that_poetry_installs_on_demand() -> None:
    poetry = {"group": {"docs": {"optional": True, "dependencies": {"x": "*"}}, "dev": {"dependencies": {"y": "^1"}}}}
    groups = groups_of({}, poetry=poetry)
    assert groups.optional == {"docs"}
    assert groups["dev"] == ["y>=1,<2"]


def test_groups_of_rye_and_uv() -> None:
    assert groups_of({}, rye={"dev-dependencies": ["x"]})["dev"] == ["x"]
    assert groups_of({"dev": ["y"]}, uv={"dev-dependencies": ["x"]})["dev"] == ["y", "x"]


def test_groups_of_poetry_that_include_themselves_or_too_many() -> None:
    def table(name: str, *included: str) -> dict[str, object]:
        return {name: {"include-groups": list(included), "dependencies": {f"of-{name}": "*"}}}

    def groups(poetry: dict[str, object]) -> Groups:
        return Groups({"tool": {"poetry": {"group": poetry}}}, {}, "")

    with pytest.raises(GroupError, match="'a' includes itself"):
        groups(table("a", "b") | table("b", "a"))["a"]
    with pytest.raises(GroupError, match="'a' includes 'gone', which does not exist"):
        groups(table("a", "gone"))["a"]
    chain = {name: entry for n in range(8000) for name, entry in table(f"g{n}", f"g{n + 1}").items()}
    with pytest.raises(GroupError, match="deep"):
        groups(chain)["g0"]
