"""What is masked: the value and its other forms, wherever they begin, and nothing else."""

import base64
import json
import re
import subprocess
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_common.secrets.masks import Everything, Masks, everywhere, stars

VALUE = 'correct/horse+battery "staple" & ünïcödé\\%'
PEM = (
    "-----BEGIN PRIVATE KEY-----\n"
    + "\n".join(base64.b64encode(bytes((i * 7 + n * 13) % 256 for i in range(48))).decode() for n in range(8))
    + "\n-----END PRIVATE KEY-----\n"
)


def masked(masks: Masks, data: bytes) -> bytes:
    return stars(data, masks.covered(data))


@pytest.mark.parametrize(
    "form",
    [
        VALUE,
        quote(VALUE),
        quote(VALUE, safe=""),
        quote_plus(VALUE),
        re.sub("%..", lambda match: match[0].lower(), quote(VALUE, safe="")),
        json.dumps(VALUE)[1:-1],
        json.dumps(VALUE, ensure_ascii=False)[1:-1],
    ],
)
def test_forms_of_a_value(form: str) -> None:
    masks = Masks([VALUE])
    shown = masked(masks, f"before {form} behind\n".encode())
    assert shown.startswith(b"before *")
    assert shown.endswith(b"* behind\n")
    assert set(shown[7:-8]) == {ord("*")}
    assert masks.text(f"a {VALUE} b") == "a *** b"


@given(before=st.binary(max_size=40), behind=st.binary(max_size=40))
def test_base64_at_every_offset(before: bytes, behind: bytes) -> None:
    masks, value = Masks([VALUE]), VALUE.encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        shown = masked(masks, encode(before + value + behind))
        first, last = -(-len(before) * 8 // 6), (len(before) + len(value)) * 8 // 6
        assert set(shown[first:last]) == {ord("*")}
        assert masked(masks, encode(before)) == encode(before) or value in before


def test_base64_that_a_program_has_broken_into_lines() -> None:
    long = "a long value that needs several lines when it is encoded: " + "0123456789abcdefghij" * 6
    for secret in (long, PEM):
        for head in ("", "x", "xy", "xyz" * 20):
            encoded = subprocess.run(
                ["base64"], input=f"{head}{secret}tail".encode(), capture_output=True, check=True
            ).stdout
            shown = masked(Masks([secret]), encoded)
            assert shown.count(b"\n") == encoded.count(b"\n"), "lines stay"
            assert shown.count(b"*") >= len(secret.strip()) * 4 // 3 - 4


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_value_of_several_lines(end: str) -> None:
    masks = Masks([PEM])
    shown = masked(masks, PEM.replace("\n", end).encode())
    assert set(shown) == set(b"*" + end.encode())
    line = PEM.splitlines()[3]
    assert masked(masks, f"only {line} here".encode()) == b"only " + b"*" * len(line) + b" here"
    begin = b"-----BEGIN PRIVATE KEY-----"
    assert masked(masks, begin) == begin, "a line that every key has is not masked by itself"


def test_the_texts_in_a_json_document() -> None:
    document = {
        "type": "service_account",
        "private_key": "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
        "n": ["aaaa-bbbb-cccc-1234"],
    }
    masks = Masks([json.dumps(document, indent=2)])
    assert masks.text("key 0f1e2d3c4b5a69788796a5b4c3d2e1f0 of aaaa-bbbb-cccc-1234") == "key *** of ***"
    assert masks.text('  "private_key": {') == '  "private_key": {'


def test_values_that_cannot_be_masked_are_left_out() -> None:
    masks = Masks(["1234", "password", "true", "", "aaaaaaaaaaaaaaaa"])
    assert not masks
    assert masks.text("password 1234 true") == "password 1234 true"


def test_overlapping_occurrences_are_masked_as_one() -> None:
    assert Masks(["abcd1abcd1"]).text("xabcd1abcd1abcd1y") == "x***y"
    assert Masks(["abcdefg1", "fg1hijklm"]).text("_abcdefg1hijklm_") == "_***_"
    assert masked(Masks(["abcdefg1"]), b"abcdefgabcdefg1") == b"abcdefg********"


def test_json_values_are_masked_everywhere() -> None:
    masks = Masks([VALUE])
    value = {"a": [VALUE, 1, None, True, 1.5], VALUE: {"b": f"x{VALUE}"}}
    assert everywhere(masks, value) == {"a": ["***", 1, None, True, 1.5], "***": {"b": "x***"}}
    assert everywhere(Everything(), {"a": ["b", ""]}) == {"***": ["***", ""]}


SECRETS = st.lists(st.text(alphabet="abcd1-é\n", min_size=8, max_size=24), min_size=1, max_size=3)


@given(secrets=SECRETS, data=st.data())
@settings(max_examples=300, deadline=None)
def test_what_is_masked_does_not_depend_on_what_is_around(secrets: list[str], data: st.DataObject) -> None:
    """A byte is masked by what lies within reach of it, so a window of that size shows the same as the whole."""
    masks = Masks(secrets)
    pieces = st.one_of(st.sampled_from([secret.encode() for secret in secrets]), st.binary(max_size=5))
    pieces |= st.sampled_from([base64.b64encode(secret.encode()) for secret in secrets])
    whole = b"".join(data.draw(st.lists(pieces, max_size=8)))
    shown = masked(masks, whole)
    assert len(shown) == len(whole)
    assert [b for b in shown if b in b"\r\n"] == [b for b in whole if b in b"\r\n"]
    for start in range(0, len(whole), 7):
        end = min(len(whole), start + 5)
        reach = max(1, masks.reach)
        first = max(0, start - reach + 1)
        window = whole[first : end + reach - 1]
        assert masked(masks, window)[start - first : end - first] == shown[start:end]


@given(secrets=SECRETS, data=st.data())
@settings(max_examples=300, deadline=None)
def test_what_may_begin_a_secret_is_told(secrets: list[str], data: st.DataObject) -> None:
    """What stands before the open place is shown alike, whatever follows."""
    masks = Masks(secrets)
    pieces = st.one_of(st.sampled_from([secret.encode() for secret in secrets]), st.binary(max_size=5))
    whole = b"".join(data.draw(st.lists(pieces, max_size=6)))
    for size in range(len(whole) + 1):
        safe = masks.open_from(whole[:size])
        assert masked(masks, whole[:size])[:safe] == masked(masks, whole)[:safe]


def test_everything_is_masked_where_the_values_are_not_known() -> None:
    assert stars(b"a\nb\r\n", Everything().covered(b"a\nb\r\n")) == b"*\n*\r\n"
    assert Everything().text("abc") == "***"
