"""A document is read alike with libyaml and without it."""

import pytest
import yaml

from ci_server.recognition.plain_yaml import load_plain

DOCUMENTS = [
    "",
    "# nothing\n",
    "image: python:3.12-slim\nsteps: [{run: echo hello}]\n",
    "steps:\n  - name: test\n    run: |\n      python -m pytest\n      echo 'done'\n",
    "env: {A: yes, B: 'true', C: 1, D: ~}\n",
    'command: >-\n  one\n  two\non: [failed]\nnetwork: no\ntimeout: 1.5\nzwölf: "\\u00fc"\n',
    "a: 2025-01-31\n",
]
BROKEN = [
    ("a: [1, 2\nb: 3", "expected ',' or '\\]'"),
    ("a: &x 1\nb: *x", "aliases"),
    ("a: 1\na: 2", "given twice"),
    ("a: !!python/name:os.system", "constructor"),
    ("a: 1\n---\nb: 2", "single document"),
    ("a:\n\t- b", "cannot start any token"),
]


@pytest.fixture(params=[True, False], ids=["libyaml", "python"])
def _libyaml(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    assert yaml.__with_libyaml__, "or only one of them is tried here"
    monkeypatch.setattr(yaml, "__with_libyaml__", request.param)


@pytest.mark.usefixtures("_libyaml")
@pytest.mark.parametrize("text", DOCUMENTS)
def test_what_can_be_read(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    document = load_plain(text)
    monkeypatch.setattr(yaml, "__with_libyaml__", False)
    assert document == load_plain(text)


@pytest.mark.usefixtures("_libyaml")
@pytest.mark.parametrize(("text", "what"), BROKEN)
def test_what_cannot_be_is_explained(text: str, what: str) -> None:
    with pytest.raises(yaml.YAMLError, match=what):
        load_plain(text)
