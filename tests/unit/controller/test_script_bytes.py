"""Every byte but NUL in commands, variables and paths arrives as it was, whichever shell runs the script."""

import itertools
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ci_common.run_directory.layout import RunDirectory
from ci_common.spec import PlannedStep
from ci_controller.run_directory.quoting import quote
from tests.helpers.scripts import ENVIRONMENT, SHELLS, ScriptRun, as_sh, plan_of, shell_steps

ALL_BYTES = bytes(range(1, 256))
NASTY = [
    b"'",
    b"\\",
    b"$",
    b"`",
    b'"',
    b"\n",
    b"!",
    b"~",
    b"\x01",
    b"\x7f",
    b"\x81",
    b"\x88",
    b"\xff",
    b"e\xcc\x81",
    b" ",
]

words = st.one_of(
    st.binary(max_size=60).map(lambda raw: raw.replace(b"\0", b"")),
    st.lists(st.sampled_from(NASTY), max_size=12).map(b"".join),
)
names = words.map(lambda raw: raw.replace(b"/", b"")[:200]).filter(lambda raw: raw not in (b"", b".", b".."))
directories = itertools.count()


@pytest.fixture(scope="module", params=SHELLS, ids=lambda path: path.name)
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return as_sh(request.param, tmp_path_factory.getbasetemp())


def text_of(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(word=words, value=words, base=names, directory=names, locale=st.sampled_from(["C", "C.UTF-8"]))
@example(word=ALL_BYTES, value=ALL_BYTES, base=b"run", directory=b"dir", locale="C")
@example(word=ALL_BYTES * 2, value=ALL_BYTES, base=b"run", directory=b"dir", locale="C.UTF-8")
@example(word=b"-n", value=b"-n", base=b"-n", directory=b"-n", locale="C")
@example(word=b"", value=b"", base=b"'", directory=b"'\n", locale="C")
@example(word=b"x\n", value=b"x\n\n", base=b"x\n", directory=b"~", locale="C")
@example(word=b"x", value=b"x", base=b"%s$HOME", directory=bytes(range(1, 47)) + bytes(range(48, 256)), locale="C")
def test_words_values_and_paths_arrive(
    shell: Path, tmp_path: Path, word: bytes, value: bytes, base: bytes, directory: bytes, locale: str
) -> None:
    top = tmp_path / str(next(directories)) / os.fsdecode(base)
    plan = plan_of(
        *shell_steps("printf %s " + text_of(quote(word)) + " >word", 'printf %s "$VALUE" >value'),
        PlannedStep(name="argv", argv=("sh", "-c", 'printf %s "$1" >argv; printf %s "$2"', "sh", text_of(word), "")),
        env={"VALUE": text_of(value)},
        directory=text_of(directory),
    )
    one = ScriptRun(RunDirectory(top), shell, plan, environment={**ENVIRONMENT, "LC_ALL": locale})
    assert one.execute() == 0
    assert one.log() == b""
    inside = one.run.workspace / os.fsdecode(directory)
    assert (inside / "word").read_bytes() == word
    assert (inside / "value").read_bytes() == value
    assert (inside / "argv").read_bytes() == word


@pytest.mark.parametrize(
    ("size", "stop_at_failure"),
    [(60_000, False), (60_000, True), (131_060, False), (200_000, True), (1_000_000, False)],
)
def test_shell_text_of_any_length_is_run(shell: Path, tmp_path: Path, size: int, stop_at_failure: bool) -> None:
    text = "printf begin; : '" + "x" * size + "'; false; printf end"
    run = RunDirectory(tmp_path / "run")
    one = ScriptRun(run, shell, plan_of(*shell_steps(text, stop_at_failure=stop_at_failure)))
    code, log = (1, b"begin") if stop_at_failure else (0, b"beginend")
    assert (one.execute(), one.log()) == (code, log)


@pytest.mark.parametrize("text", ["a\0b", "\0"])
def test_a_nul_byte_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="NUL"):
        quote(text)


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        quote("\ud800")


def test_text_is_utf8_whatever_the_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsencode", lambda text: text.encode("latin-1"))
    assert quote("é€") == "'é€'".encode()
