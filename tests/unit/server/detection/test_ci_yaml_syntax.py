"""YAML as plain data: text as written, and what YAML 1.2 reads in it, with libyaml and without it."""

import math
from contextlib import suppress
from typing import Any

import pytest
import yaml
import yamlcore
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ci_common.parsing.values import Plain
from ci_server.detection.reading import yaml_document
from ci_server.detection.reading.yaml_document import YamlError, load_yaml, locate

DOCUMENTS = [
    "",
    "# nothing\n",
    "image: python:3.12-slim\nsteps: [{run: echo hello}]\n",
    "steps:\n  - name: test\n    run: |\n      python -m pytest\n      echo 'done'\n",
    "env: {A: yes, B: 'true', C: 1, D: ~}\n",
    'command: >-\n  one\n  two\non: [failed]\nnetwork: no\ntimeout: 1.5\nzwölf: "\\u00fc"\n',
    "a: 2025-01-31\n",
    "a: &x 1\nb: !!str 010\n",
]
BROKEN = [
    ("a: [1, 2\nb: 3", 2, "expected ',' or '\\]'"),
    ("a: &x 1\nb: *x", 2, "aliases"),
    ("a: &x {b: *x}", 1, "aliases"),
    ("a: 1\na: 2", 2, "given twice"),
    ("1: a\n'1': b", 2, "given twice"),
    ("a:\n  <<: {b: c}", 2, "merge keys"),
    ("? [a]\n: b", 1, "a key has to be text"),
    ("a: 1\n---\nb: 2", 3, "second document"),
    ("a:\n\t- b", 2, "a tab is no indentation in YAML: write spaces"),
    ("a: @b", 1, "write text that begins with @ in quotes"),
    ("run: echo a: b", 1, "write text with a colon and a space in quotes"),
    ("a: b\nc: \x01", 2, "not allowed in YAML"),
    ("[" * 1000, 1, "nested"),
    ("a: !!python/name:os.system", 1, "tag .*python/name"),
    ("a: !!timestamp x", 1, "tag !!timestamp is not supported"),
    ("a: !!binary x", 1, "tag !!binary is not supported"),
    ("a: !!set {b}", 1, "tag !!set is not supported"),
    ("a: !!omap [{b: c}]", 1, "tag !!omap is not supported"),
    ("!!merge <<: b", 1, "tag !!merge is not supported"),
    ("a: !mine x", 1, "tag !mine is not supported"),
    ("a: !!map x", 1, "tag !!map is not supported"),
    ("a: !!str [b]", 1, "tag !!str is not supported"),
    *((f"a: 1\nb: !!{tag} {text!r}", 2, "does not fit its tag") for tag, text in [
        *(("int", text) for text in ("", "_", "-", "1.5", "1_0", "1:30", "x", "9" * 100)),
        *(("float", text) for text in ("", "_", ".", "x", "1:00:00.0", ":".join(["1"] * 175) + ".0")),
        *(("bool", text) for text in ("", "x", "yes", "1")),
        *(("null", text) for text in ("x", "none")),
    ]),
]  # fmt: skip


@pytest.fixture(params=[yaml.CSafeLoader, yaml.SafeLoader], ids=["libyaml", "python"])
def _libyaml(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_document, "_LOADER", request.param)


@pytest.mark.usefixtures("_libyaml")
@pytest.mark.parametrize("text", DOCUMENTS)
def test_what_can_be_read(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    document = load_yaml(text)
    monkeypatch.setattr(yaml_document, "_LOADER", yaml.SafeLoader)
    assert document == load_yaml(text) == yaml.load(text.replace("!!str ", ""), yaml.BaseLoader)


@pytest.mark.usefixtures("_libyaml")
@pytest.mark.parametrize(("text", "line", "what"), BROKEN)
def test_what_cannot_be_is_explained(text: str, line: int, what: str) -> None:
    with pytest.raises(YamlError, match=f"^line {line}, column [0-9]+: .*{what}"):
        load_yaml(text)


@pytest.mark.usefixtures("_libyaml")
@pytest.mark.parametrize("text", ["!!int 10", "!!float 1", "!!float .inf", "!!bool true", "!!null ''", "!!null ~"])
def test_tags_of_the_core_schema_are_taken_where_they_fit(text: str) -> None:
    assert isinstance(load_yaml(f"a: {text}")["a"], Plain)


def test_quotes_and_the_tag_for_text_make_text() -> None:
    for text in ("'010'", '"010"', "!!str 010", "! 010", "|-\n  010", ">-\n  010"):
        assert type(load_yaml(f"a: {text}")["a"]) is str, text


def test_a_value_at_fault_is_named() -> None:
    for text, place in (
        ("a: {b: [x, !!int y]}", ("a", "b", 1)),
        ("a: {b: {c: d}, e: *f}", ("a", "e")),
        ('env:\n  A: x\n  B: "\\ud800"\n' + "# long\n" * 10_000, ("env", "B")),
        ("a: [[b], {c: d}, !x e]", ("a", 2)),
    ):
        with pytest.raises(YamlError) as caught:
            load_yaml(text)
        assert caught.value.place == place


def test_half_of_a_surrogate_pair_is_left_to_the_model() -> None:
    text = 'env: {A: x, B: "\\ud800"}'
    assert load_yaml(text) == {"env": {"A": "x", "B": "\ud800"}}
    assert locate(text, [("env", "B")]) == ["line 1, column 16"]


FRAGMENTS = [
    "a",
    ": ",
    "- ",
    "\n",
    "  ",
    "[",
    "]",
    "{",
    "}",
    ",",
    '"',
    "'",
    "|",
    ">",
    "&x",
    "*x",
    "!!int ",
    "!!set ",
    "!",
    "?",
]
FRAGMENTS += [
    "%YAML 1.1\n",
    "---",
    "...",
    "<<",
    "#",
    "\t",
    "\r\n",
    "\\ud800",
    "\\x",
    "0x",
    "\x85",
    "\u2028",
    "\ufeff",
    "\0",
    "~",
]


@pytest.mark.usefixtures("_libyaml")
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join) | st.text(st.characters(), max_size=20))
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_written_is_read_or_refused(text: str) -> None:
    with suppress(YamlError):
        load_yaml(text)


def test_places_are_located() -> None:
    text = "steps:\n- run: a\n- run: b\n  name: c\nenv: {A: 1,\n  B: 2}\n"
    found = locate(text, [("steps", 1, "name"), ("steps", 1), ("env", "B"), ("env", "C"), ("gone",), ()])
    assert found == [
        "line 4, column 9",
        "line 3, column 3",
        "line 6, column 6",
        "line 5, column 6",
        *["line 1, column 1"] * 2,
    ]


SCALARS = st.one_of(
    st.text("0123456789+-._:eE", max_size=12),
    st.from_regex(r"[-+]?0?[xob]?[0-9a-fA-F_]{1,8}", fullmatch=True),
    st.from_regex(r"[-+]?[0-9_]{0,4}\.?[0-9_]{0,4}([eE][-+]?[0-9]{0,3})?", fullmatch=True),
    st.from_regex(r"[-+]?\.(inf|Inf|INF|nan|NaN|NAN|iNF)", fullmatch=True),
    st.from_regex(r"[0-9]{1,4}-[0-9]{1,2}-[0-9]{1,2}([Tt ][0-9:.]{1,8}Z?)?", fullmatch=True),
    st.from_regex(r"[0-9]{1,3}(:[0-9]{1,2}){1,3}(\.[0-9]*)?", fullmatch=True),
    st.sampled_from(
        ["~", "null", "Null", "NULL", "nULL", "", "true", "True", "TRUE", "tRUE", "false", "False", "FALSE"]
    ),
    st.sampled_from(
        ["yes", "Yes", "no", "on", "off", "y", "n", "Y", "N", "None", "1_000", "0o10", "010", "0x1F", "0b1"]
    ),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp")), max_size=8),
)


@given(SCALARS)
@settings(max_examples=1000, deadline=None)
def test_scalars_are_read_as_yaml_1_2_reads_them(text: str) -> None:
    document = f"- {text}\n"
    try:
        read = load_yaml(document)
    except YamlError:
        return
    if not isinstance(read, list) or not isinstance(read[0], Plain):
        return
    (plain,) = read
    (expected,) = yaml.load(document, yamlcore.CoreLoader)
    assert plain == yaml.load(document, yaml.BaseLoader)[0], "as written"
    assert (plain.is_null, plain.is_boolean) == (expected is None, isinstance(expected, bool))
    assert same_number(plain.number, expected)


def same_number(number: Any, expected: Any) -> bool:
    if not isinstance(expected, int | float) or isinstance(expected, bool):
        return number is None
    if isinstance(expected, float) and math.isnan(expected):
        return isinstance(number, float) and math.isnan(number)
    return type(number) is type(expected) and number == expected
