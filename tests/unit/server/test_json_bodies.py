"""What JSON is read, and what of it as it was written."""

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_common.errors import InvalidRequest
from ci_common.spec import Spec
from ci_server.http.requests import MAX_JSON_DIGITS, MAX_JSON_VALUES, as_written, parse_json_object

QUOTED = [r"\"" * 30_000, "\\\\" * 30_000, ",[{:" * 30_000, "1" * 300_000, '\\"1,\\"' * 10_000, "\\\\\\\\"]
"""Text of JSON that looks like many values or a long number, and is one text."""


@pytest.mark.parametrize("text", QUOTED, ids=lambda text: text[:6])
def test_what_stands_in_texts_does_not_count(text: str) -> None:
    raw = f'{{"a": "{text}", "b": [1, "{text}"]}}'.encode()
    assert parse_json_object(raw, source="the body") == json.loads(raw)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(10**90), 10**90)
        | st.text()
        | st.sampled_from(['"', "\\", '\\"', "1" * 200]),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.booleans(),
)
@settings(deadline=None)
def test_honest_documents_are_read(value: Any, ascii_only: bool) -> None:
    raw = json.dumps({"a": value, "b": "," * MAX_JSON_VALUES}, ensure_ascii=ascii_only).encode()
    assert parse_json_object(raw, source="the body") == json.loads(raw)


def test_as_many_values_as_are_taken() -> None:
    most = json.dumps({"a": list(range(MAX_JSON_VALUES - 4))}).encode()
    assert len(parse_json_object(most, source="the body")["a"]) == MAX_JSON_VALUES - 4
    with pytest.raises(InvalidRequest, match="the body has more than 10000 values"):
        parse_json_object(json.dumps({"a": list(range(MAX_JSON_VALUES))}).encode(), source="the body")


@pytest.mark.parametrize("number", ["{}", "-{}", "0.{}", "1e{}", "{}.5", "{}e5"])
def test_numbers_have_an_end(number: str) -> None:
    raw = f'{{"a": {number.format("9" * (MAX_JSON_DIGITS + 1))}}}'.encode()
    with pytest.raises(InvalidRequest, match="a number of more than 100 digits"):
        parse_json_object(raw, source="the body")


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":%s}' % (b"9" * 1_000_000),
        b'{"a":[%s1]}' % (b"1," * 500_000),
        b'{"a":[%s""]}' % (b'"",' * 300_000),
        b'{"a":[%s[]]}' % (b"[]," * 300_000),
        b"[" * 1_000_000,
        b'{"a":"' + b'\\"' * 500_000,
        b'{"a":"' + b"\\" * 1_000_000,
    ],
    ids=lambda raw: raw[:10].decode(),
)
def test_refusing_takes_no_time(raw: bytes) -> None:
    begun = time.thread_time()
    with pytest.raises(InvalidRequest):
        parse_json_object(raw, source="the body")
    assert time.thread_time() - begun < 0.1


@pytest.mark.parametrize("text", ["3.10", "1.0", "0.50", "1e3", "-0.0", "1.000000000000000000001"])
def test_fractions_of_variables_are_text_as_written(text: str) -> None:
    for raw in (f'{{"env": {{"A": {text}, "B": "x"}}}}', f'{{"payload": {{"env": {{"A": {text}, "B": "x"}}}}}}'):
        document = json.loads(raw)
        written = as_written(document.get("payload", document), raw.encode())
        assert Spec.model_validate(written).env == {"A": text, "B": "x"}


def test_only_variables_are_read_again() -> None:
    spec = {"timeout": 1.5, "env": {"A": 1}}
    assert as_written(spec, b"not looked at") is spec
    raw = b'{"timeout": 1.50, "labels": {"a": 1.5}, "env": {"A": 1.50}}'
    assert as_written(json.loads(raw), raw) == {"timeout": 1.5, "labels": {"a": 1.5}, "env": {"A": "1.50"}}
