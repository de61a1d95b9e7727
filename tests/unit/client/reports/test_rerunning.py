"""How runners are told which tests to run again."""

import shlex
from typing import Any

import pytest

from ci_client.rerunning import MOST_BYTES, CannotSelect, selection

MAVEN = [{"path": "cart/target/surefire-reports/TEST-com.acme.CartTest.xml"}]


def case(**more: Any) -> dict[str, Any]:
    return {"suite": "", "class_name": "", "name": "", "selector": None} | more


def selected(*tests: dict[str, Any], files: Any = (), gone: tuple[str, ...] = ()) -> dict[str, str]:
    return selection(tests, files, exists=lambda name: name not in gone)


def test_pytest_gets_node_ids_as_its_options() -> None:
    names = ['test_a.py::test_p[it\'s a "case"]', "test_a.py::TestC::test_b", "test_gone.py::test_c"]
    chosen = selected(*(case(selector=name) for name in [*names, names[0]]), gone=("test_gone.py",))
    assert {name: shlex.split(value) for name, value in chosen.items()} == {"PYTEST_ADDOPTS": names[:2]}


def test_go_gets_a_pattern_of_whole_tests() -> None:
    tests = [case(suite="example.org/cart", name=name) for name in ("TestSum/empty", "TestSum/full", "TestAdd")]
    assert selected(*tests) == {"GOFLAGS": "-run=^(TestAdd|TestSum)$"}


def test_maven_gets_classes_with_their_methods() -> None:
    tests = [
        case(class_name="com.acme.CartTest", name="removes"),
        case(class_name="com.acme.CartTest", name="adds(int)[1]"),
        case(class_name="com.acme.MailTest", name=""),
    ]
    assert selected(*tests, files=MAVEN) == {
        "MAVEN_ARGS": "-Dtest=com.acme.CartTest#adds+removes,com.acme.MailTest#* "
        "-Dsurefire.failIfNoSpecifiedTests=false"
    }


@pytest.mark.parametrize(
    ("tests", "files", "why"),
    [
        ([], (), "no test failed"),
        ([case(selector="gone.py::test_a")], (), "the files of all tests that failed are gone"),
        (
            [case(selector="a.py::test_a"), case(suite="sum", class_name="sum", name="is wrong")],
            (),
            "were not all run by",
        ),
        ([case(suite="a/b", name="TestA;rm -rf /")], (), "were not all run by"),
        ([case(class_name="com.acme.CartTest", name="removes")], (), "were not all run by"),
        ([case(class_name="com.acme.Cart Test", name="removes")], MAVEN, "were not all run by"),
        ([case(selector=f"{'x' * MOST_BYTES}.py::test_a")], (), "1 tests failed, too many to be named"),
    ],
)
def test_refuses_what_it_cannot_choose(tests: list[dict[str, Any]], files: Any, why: str) -> None:
    with pytest.raises(CannotSelect, match=why):
        selected(*tests, files=files, gone=("gone.py",))
