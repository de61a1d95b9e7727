"""What a cache may be, as people write it."""

from typing import Any

import pytest

from ci_common.errors import InvalidRequest
from ci_common.parsing.models import validated
from ci_common.spec import Spec
from ci_common.spec_parts.caches import JOB_ID, fill_in

PIP = {"path": "~/.cache/pip", "key": "pip-{{ hash('requirements*.txt') }}", "restore": ["pip-"]}


def spec(*caches: dict[str, Any]) -> Spec:
    return validated(Spec, {"cache": list(caches)}, source="the request")


def refusal(*caches: dict[str, Any]) -> str:
    with pytest.raises(InvalidRequest) as caught:
        spec(*caches)
    return "; ".join(f"{error.path}: {error.message}" for error in caught.value.errors)


def test_a_cache_is_read() -> None:
    (cache,) = spec(PIP).cache or []
    assert (cache.path, cache.restore, cache.when) == ("~/.cache/pip", ["pip-"], "success")
    assert (spec({**PIP, "restore": "pip-", "when": "always"}).cache or [])[0].restore == ["pip-"]


@pytest.mark.parametrize("path", ["node_modules", "a/b.c/d", "~/.cache/pip", "~/x", ".pytest_cache", "x y/ü"])
def test_paths_below_the_project_and_the_home(path: str) -> None:
    spec({**PIP, "path": path})


@pytest.mark.parametrize(("path", "why"), [
    ("/root/.cache", "absolute"), ("../x", ".."), ("~/../x", ".."), ("a/../b", ".."), ("~", "name one"), (".", "name"),
    ("~user/x", "name one"), ("a//b", "name one"), ("a/", "name one"), ("a/-rf", "name one"), ("-C", "name one"),
    ("~/", "name one"), ("./a", "name one"), ("", "name one"), ("a\nb", "control character"), ("a" * 2000, "name one"),
])  # fmt: skip
def test_other_paths_are_refused(path: str, why: str) -> None:
    assert why in refusal({**PIP, "path": path})


@pytest.mark.parametrize(("key", "why"), [
    ("a-{{ hashFiles('x') }}", "is not a placeholder; known are"), ("{{ }}", "is not a placeholder"),
    ("{{ hash() }}", "is not a placeholder"), ("{{ hash('a' }}", "is not a placeholder"),
    ("{{ hash('../a') }}", "pattern"),
    ("{{ hash('/etc/passwd') }}", "pattern"), ("{{ image", "without }}"), ("", "empty"), ("k" * 513, "512"),
])  # fmt: skip
def test_keys_that_are_refused(key: str, why: str) -> None:
    assert why in refusal({**PIP, "key": key})
    assert refusal({**PIP, "restore": ["ok-", key]}).startswith("cache.0.restore.1")


def test_numbers_and_doubles_are_bounded() -> None:
    assert "at most 10" in refusal(*({"path": f"p{n}", "key": "k"} for n in range(11)))
    assert "at most 10" in refusal({**PIP, "restore": ["x"] * 11})
    assert "missing" in refusal({"path": "a"})
    assert "unknown field" in refusal({**PIP, "paths": []})
    assert "when" in refusal({**PIP, "when": "never"})


def test_placeholders_are_filled_in() -> None:
    asked: list[list[str]] = []

    def hashed(patterns: Any) -> str:
        asked.append(list(patterns))
        return "0f"

    key = """a-{{image}}-{{ hash( 'x*.txt' , "b's" ) }}-{{ job_id }}-{{hash('y')}}"""
    assert fill_in(key, image="i:1", hashed=hashed) == f"a-i:1-0f-{JOB_ID}-0f"
    assert asked == [["x*.txt", "b's"], ["y"]]
