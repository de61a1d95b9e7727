"""Records of runs: their digests, what two of them do not have in common, and signatures by the real ssh-keygen."""

import copy
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click
import pytest

from ci_cli.records.signing import NAMESPACE, check_signature, sign
from ci_client.records import canonical, changed_files, check_content, check_document, differences, digest, not_the_same
from ci_common.wire.results import record as writing

KEYGEN = shutil.which("ssh-keygen")
RUN: dict[str, Any] = {
    "job_id": "0",
    "conclusion": "succeeded",
    "start_time": "2026-01-01T00:00:00.000000Z",
    "end_time": "2026-01-01T00:00:02.500000Z",
    "image": {"name": "a", "id": "sha256:1", "digest": "a@sha256:1"},
    "environment": {"key": "k" * 32, "hit": True},
    "plan": {"network": False, "limits": {"memory": None}},
    "runtime": "docker",
    "inputs": {
        "steps": [{"name": "one", "shell": "make"}, {"name": "two", "shell": "true"}],
        "environment": {"variables": {"A": "1"}},
    },
    "steps": [{"name": "one", "status": "succeeded", "exit_code": 0}],
    "resources": {"peak_memory": 1, "cpu_seconds": 0.5},
    "log": {"bytes": 3, "sha256": "x"},
}


def sealed(run: dict[str, Any]) -> dict[str, Any]:
    run = {**copy.deepcopy(run), "fingerprint": digest(run["inputs"])}
    return {"run": run, "sha256": digest(run)}


@pytest.mark.parametrize("value", [{"b": [1, 2.5, None, True], "a": 'ü\n"\x7f'}, [], "\u2028", {"1": {}, "01": ""}])
def test_the_client_digests_as_the_server_does(value: Any) -> None:
    assert canonical(value) == writing.canonical(value)
    assert digest(value) == writing.digest(value)


def test_a_number_without_a_fraction_is_written_without_one() -> None:
    assert writing.canonical({"a": 60.0, "b": [1e20, -0.5]}) == '{"a":60,"b":[100000000000000000000,-0.5]}'
    assert writing.canonical([-0.0, 1e16, 10.05, 1e-7, 5e300, "2.0"]) == (
        f'[0,10000000000000000,10.05,1e-07,{int(5e300)},"2.0"]'
    )


def test_no_nul_is_left() -> None:
    assert writing.canonical("a\0") == '"a\ufffd"'
    assert writing.canonical({"a\0": {"b": ["\\u0000"]}}) == '{"a\ufffd":{"b":["\\\\u0000"]}}'


def test_a_record_that_was_changed_is_told() -> None:
    record = sealed(RUN)
    assert [check.ok for check in check_document(record)] == [True, True]
    record["run"]["exit_code"] = 7
    assert [check.ok for check in check_document(record)] == [False, True]
    record["run"]["inputs"]["steps"][0]["shell"] = "rm"
    assert [check.ok for check in check_document(record)] == [False, False]


async def test_content_is_compared_in_length_and_digest() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"bc"

    right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert (await check_content("log", chunks(), 3, right)).ok
    assert not (await check_content("log", chunks(), 2, right)).ok
    assert not (await check_content("log", chunks(), 3, right[::-1])).ok


def test_runs_that_did_the_same_do_not_differ() -> None:
    other = copy.deepcopy(RUN) | {
        "job_id": "1",
        "start_time": "2027-01-01T00:00:00Z",
        "end_time": "2027-01-01T00:00:02.5Z",
    }
    assert differences(RUN, other) == []


def test_what_two_runs_do_not_have_in_common() -> None:
    other = copy.deepcopy(RUN)
    other["image"]["id"] = "sha256:2"
    other["plan"]["limits"]["memory"] = 5
    other["inputs"]["steps"].pop()
    other["inputs"]["steps"][0]["shell"] = "make all"
    other["inputs"]["environment"]["variables"] = {}
    other["steps"][0]["status"] = "failed"
    other["resources"]["cpu_seconds"] = 0.25
    other["end_time"] = "2026-01-01T00:00:03.500000Z"
    found = {(each.part, each.name): (each.before, each.after) for each in differences(RUN, other)}
    assert found == {
        ("image", "id"): ("sha256:1", "sha256:2"),
        ("environment", "variables.A"): ("1", None),
        ("plan", "plan.limits.memory"): (None, 5),
        ("steps", "one.shell"): ("make", "make all"),
        ("steps", "two"): ("there", None),
        ("steps", "one.status"): ("succeeded", "failed"),
        ("used", "seconds"): (2.5, 3.5),
        ("used", "cpu_seconds"): (0.5, 0.25),
    }


def test_files_of_uploads() -> None:
    def record(**files: str) -> dict[str, Any]:
        return {"files": [{"path": path, "sha256": sha256} for path, sha256 in files.items()]}

    before, after = record(a="1", b="2", c="3"), record(b="2", c="4", d="5")
    assert changed_files(before, after) == [("-", "a"), ("~", "c"), ("+", "d")]
    assert changed_files(record(), {"files": None}) is None


def test_what_a_rerun_cannot_repeat() -> None:
    assert list(not_the_same({"run": RUN}, lambda: {"k" * 32})) == []
    run = RUN | {"image": {"name": "mine", "id": "sha256:1", "digest": None}, "plan": {"network": True}}
    said = list(not_the_same({"run": run}, lambda: set()))
    assert len(said) == 3
    assert "mine" in said[0]
    assert "kkkkkkkkkkkk is gone" in said[1]
    (alone,) = not_the_same({"run": RUN | {"runtime": "process", "environment": None}}, set)
    assert alone.startswith("it ran as a process")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    assert KEYGEN is not None, "these tests need ssh-keygen, of Debian's openssh-client"
    path = tmp_path / "id"
    subprocess.run([KEYGEN, "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


async def test_a_signed_record_is_what_ssh_keygen_takes(tmp_path: Path, key: Path) -> None:
    assert KEYGEN is not None
    document = canonical(sealed(RUN)["run"]).encode()
    file, signature = await sign(document, tmp_path / "out" / "run.json", key)
    assert file.read_bytes() == document
    signers = tmp_path / "signers"
    signers.write_text(f"me@x {key.with_suffix('.pub').read_text()}")
    command = [KEYGEN, "-Y", "verify", "-f", signers, "-I", "me@x", "-n", NAMESPACE, "-s", signature]
    subprocess.run(command, input=document, check=True, capture_output=True)
    assert (await check_signature(document, signature, signers, "me@x")).ok
    assert not (await check_signature(document, signature, signers, "you@x")).ok
    assert not (await check_signature(document + b" ", signature, signers, "me@x")).ok
    await sign(document, file, key)  # Once more, over what is there.


async def test_a_key_that_cannot_sign(tmp_path: Path, key: Path) -> None:
    key.write_text("no key\n")
    key.with_suffix(".pub").unlink()
    with pytest.raises(click.UsageError, match="cannot sign with"):
        await sign(b"{}", tmp_path / "run.json", key)
