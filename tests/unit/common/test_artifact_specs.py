"""The field `artifacts` of a spec."""

import pytest

from ci_common.artifacts.types import content_type_of, disposition_of
from ci_common.errors import InvalidRequest
from ci_common.parsing.models import validated
from ci_common.spec import Spec
from ci_common.spec_parts.artifacts import PlannedArtifacts, planned_artifacts


def planned(artifacts: object) -> tuple[PlannedArtifacts, ...]:
    return planned_artifacts(validated(Spec, {"artifacts": artifacts}, source="the spec").artifacts or [])


def test_patterns_alone_are_one_group_behind_the_others() -> None:
    assert planned(
        ["dist/*", {"name": "shots", "paths": "*.png", "when": "failure", "retention": "7d"}, "!dist/x"]
    ) == (
        PlannedArtifacts(name="shots", take=("*.png",), when="failure", retention=7 * 86_400),
        PlannedArtifacts(take=("dist/*",), leave=("dist/x",)),
    )
    assert planned(["dist"]) == planned([{"paths": ["dist"]}])
    assert planned(["!dist"])[0].take == ("**",)
    assert planned([]) == ()


@pytest.mark.parametrize(
    ("artifacts", "where", "why"),
    [
        (["/etc/passwd"], "artifacts.0.paths.0", "absolute"),
        (["a/../../b"], "artifacts.0.paths.0", "has .. in it"),
        ([{"paths": []}], "artifacts.0.paths", "it is empty"),
        ([{"name": "../x", "paths": "a"}], "artifacts.0.name", "match"),
        ([{"paths": "a", "when": "never"}], "artifacts.0.when", "always"),
        ([{"paths": "a", "retention": "1000000d"}], "artifacts.0.retention", "less than"),
        ([{"paths": "a", "path": "b"}], "artifacts.0.path", "unknown"),
        ([{"paths": "a"}] * 21, "artifacts", "at most 20"),
        ("dist", "artifacts", "list"),
    ],
)
def test_says_what_is_wrong(artifacts: object, where: str, why: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        planned(artifacts)
    assert [error.path for error in caught.value.errors] == [where]
    assert why in caught.value.errors[0].message


def test_no_content_type_lets_a_page_run_script() -> None:
    types = {content_type_of(f"x.{end}") for end in ("js", "mjs", "JS", "ts", "exe", "xhtml", "xht", "swf", "hta")}
    assert types == {"text/plain; charset=utf-8", "application/octet-stream"}
    assert content_type_of("Report.HTML") == "text/html; charset=utf-8"
    assert content_type_of("html") == content_type_of(".html/x") == "application/octet-stream"


@pytest.mark.parametrize(
    ("path", "header"),
    [
        ("a/b.txt", 'inline; filename="b.txt"'),
        ("x.bin", 'attachment; filename="x.bin"'),
        ('q"\\;.txt', "inline; filename=\"q___.txt\"; filename*=UTF-8''q%22%5C%3B.txt"),
        ("größe.txt", "inline; filename=\"gr__e.txt\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.txt"),
        ("\u202egnp.exe", "attachment; filename=\"_gnp.exe\"; filename*=UTF-8''%E2%80%AEgnp.exe"),
    ],
)
def test_names_a_download(path: str, header: str) -> None:
    assert disposition_of(path, content_type_of(path)) == header
