"""Writes the `ci.yaml` that says what detection came to, with its reasons as comments."""

import json
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from ci_common.errors import UnrecognisedProject
from ci_common.settings import Settings
from ci_server.detection.choice import detect, reasons
from ci_server.detection.ci_yaml import NAME
from ci_server.detection.detected import Detected, say
from ci_server.detection.projects import find_project

SCHEMA_PATH: Final = ".ci/spec.schema.json"
"""Where editors find the schema, from the directory of the `ci.yaml`."""
_WIDTH: Final = 110
_PLAIN: Final = re.compile(r"[A-Za-z_./][A-Za-z0-9_./=:@+~^ -]*")
_NOTE: Final = re.compile(r"echo 'ci: (.*)'")


@dataclass(frozen=True, slots=True)
class WrittenProject:
    """What a `ci.yaml` for a project would be."""

    directory: Path
    """Where it belongs."""
    text: str
    reasons: list[str]


def written_ci_yaml(workspace: Path, settings: Settings) -> WrittenProject:
    """Return the `ci.yaml` by which runs what is detected in a project that has none.

    Raises UnrecognisedProject, and InvalidRequest if a file of the project is not valid.
    """
    directory = find_project(workspace)
    detected = detect(directory, prepared=True, installer=settings.installer)
    if detected is None:
        raise UnrecognisedProject(
            "no project is detected here, so there is nothing to write: make a "
            f"{NAME} with `steps`, as in `steps: [make test]`"
        )
    texts = {step.name: _without_notes(step.shell or "", detected.preambles) for step in detected.steps}
    why = [*reasons(directory), *(note for _, notes in texts.values() for note in notes)]
    if detected.needs_pip:
        why.append(f"pip installs, because {detected.needs_pip}")
    lines = [*_head(why), *_fields(detected, {name: text for name, (text, _) in texts.items()}, settings)]
    return WrittenProject(directory, "\n".join(lines) + "\n", why)


def _head(why: list[str]) -> Iterator[str]:
    yield f"# yaml-language-server: $schema={SCHEMA_PATH}"
    yield "#"
    yield from _comment("`ci init` wrote this file: by it runs what ran by detection. `ci validate` checks it.")
    yield "#"
    yield "# Detected:"
    for reason in why:
        yield from _comment(reason, "# - ")


def _fields(detected: Detected, texts: dict[str, str], settings: Settings) -> Iterator[str]:
    yield ""
    if detected.image:
        yield f"image: {_scalar(detected.image)}"
    else:
        yield from _comment("The image is the server's default. To have one of your own, name it:")
        yield f"# image: {settings.default_image}"
    if detected.is_python:
        yield ""
        yield from _comment(
            "How `ci_install` installs Python packages: `auto` is with uv where it gives what pip would, else with pip."
        )
        yield f"installer: {'pip' if detected.needs_pip else 'auto'}"
    if detected.env:
        yield from ("", "env:")
        yield from (f"  {name}: {json.dumps(value)}" for name, value in detected.env.items())
    setup, steps = detected.steps[: detected.setup], detected.steps[detected.setup :]
    for step in setup:
        yield from _setup(detected, texts[step.name])
    yield from ("", "steps:")
    for step in steps:
        yield f"  - name: {_scalar(step.name)}"
        yield from _text("    run:", texts[step.name])


def _setup(detected: Detected, text: str) -> Iterator[str]:
    yield ""
    yield from _comment(
        "What comes before the steps. Its outcome is kept for later jobs, until one of `inputs` changes."
    )
    yield "setup:"
    if detected.inputs:
        yield "  inputs:"
        yield from (f"    - {_scalar(name)}" for name in detected.inputs)
    if detected.is_pinned:
        yield "  pinned: true"
    yield from _text("  run:", text)


def _without_notes(text: str, preambles: Iterable[str]) -> tuple[str, list[str]]:
    """Return the text without its preamble and the lines that write a note into the log, and these notes."""
    kept, notes = [], []
    for line in text.splitlines(keepends=True):
        found = _NOTE.fullmatch(line.rstrip("\n"))
        if found is not None and say(note := found[1].replace("'\"'\"'", "'")) == line:
            notes.append(note)
        else:
            kept.append(line)
    left = "".join(kept)
    return left.removeprefix(next(filter(left.startswith, preambles), "")), notes


def _comment(text: str, begin: str = "# ") -> Iterable[str]:
    rest = "#" + " " * (len(begin) - 1)
    return textwrap.wrap(text, _WIDTH, initial_indent=begin, subsequent_indent=rest, break_on_hyphens=False)


def _scalar(text: str) -> str:
    """Return text for one line of YAML: plain where every reader takes it for the same text, else in quotes."""
    is_plain = _PLAIN.fullmatch(text) and ": " not in text and text[-1] not in " :"
    if is_plain and yaml.safe_load(text) == text:
        return text
    return json.dumps(text, ensure_ascii=False)


def _text(field: str, text: str) -> Iterator[str]:
    """Yield a field with text of several lines, so that it is read exactly as it is."""
    lines = text.split("\n")
    scalar = _scalar(text)
    if (len(lines) == 1 and scalar == text) or text.endswith("\n\n") or lines[0][:1] in ("", " ", "\t"):
        yield f"{field} {scalar}"
        return
    if not lines[-1]:
        lines.pop()
        yield f"{field} |"
    else:
        yield f"{field} |-"
    indent = " " * (len(field) - len(field.lstrip()) + 2)
    yield from (f"{indent}{line}" if line else "" for line in lines)
