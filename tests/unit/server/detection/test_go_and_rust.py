"""What is detected of Go and Rust projects, and which language is tested where there are several."""

from pathlib import Path
from typing import Any

import pytest

from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan, Spec
from ci_server.detection.projects import resolve
from tests.helpers.service import tree

GO = {"go.mod": "module example.org/me\n\ngo 1.21\n\nrequire example.org/dep v1.0.0\n", "go.sum": "x"}
MAIN = 'package me\n\nimport (\n\t"fmt"\n\t"C"\n\td "example.org/dep/part"\n\t"example.org/me/own"\n)\nimport "os"\n'
RUST = {
    "Cargo.toml": '[package]\nname = "me"\n',
    "Cargo.lock": '[[package]]\nname = "dep"\nsource = "registry+x"\n',
    "src/lib.rs": "pub fn f() {}",
}
NODE = {"package.json": '{"scripts": {"test": "x"}}'}


def plan_of(directory: Path, files: dict[str, str], *, settings: Settings | None = None, **spec: Any) -> ExecutionPlan:
    tree(directory, files)
    return resolve(directory, Spec.model_validate(spec), settings or Settings()).plan


def shells(plan: ExecutionPlan) -> dict[str, str]:
    return {step.name: step.shell or "" for step in plan.steps}


def inputs_of(plan: ExecutionPlan) -> tuple[str, ...]:
    assert plan.setup is not None
    assert plan.setup.pinned
    return plan.setup.inputs


@pytest.mark.parametrize(
    ("files", "image"),
    [
        ({"go.mod": "module x\ngo 1.21\n"}, "golang:1.21"),
        ({"go.mod": "module x\ngo 1.21.3 // c\ntoolchain go1.22.1\n"}, "golang:1.22"),
        ({"go.mod": "module x\n"}, "golang:1"),
        ({"go.work": "go 1.20\nuse ./a\n"}, "golang:1.20"),
        (RUST, "rust:1"),
        (RUST | {"rust-toolchain": "1.75.0\n"}, "rust:1.75.0"),
        (RUST | {"rust-toolchain.toml": '[toolchain]\nchannel = "1.80"\n'}, "rust:1.80"),
        (RUST | {"rust-toolchain.toml": '[toolchain]\nchannel = "nightly-2024-01-01"\n'}, "rust:1"),
        (RUST | {"rust-toolchain.toml": '[toolchain]\nchannel = "nightly"\n'}, "rustlang/rust:nightly"),
        (RUST | {"rust-toolchain": "$(id)\n"}, "rust:1"),
        (RUST | {"ci.yaml": "image: mine:1"}, "mine:1"),
    ],
)
def test_the_image(tmp_path: Path, files: dict[str, str], image: str) -> None:
    assert plan_of(tmp_path, files).image == image


def test_a_go_project(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, GO | {"main.go": MAIN, "x_windows.go": 'import "example.org/dep/windows"\n'})
    assert list(shells(plan)) == ["setup", "build", "test"]
    assert inputs_of(plan) == ("go.mod", "go.sum")
    setup = shells(plan)["setup"]
    assert "\ngo mod download\n" in setup
    assert plan.takes_downloads
    assert [line for line in setup.splitlines() if line.startswith("import")] == [
        'import _ "example.org/dep/part"', 'import _ "fmt"', 'import _ "os"',
    ]  # fmt: skip
    assert shells(plan)["test"].splitlines()[-1] == "go test ./..."


def test_another_import_is_another_setup_and_other_code_is_not(tmp_path: Path) -> None:
    before = shells(plan_of(tmp_path, GO | {"main.go": MAIN}))["setup"]
    assert shells(plan_of(tmp_path, {"main.go": MAIN + "func f() {}\n"}))["setup"] == before
    assert shells(plan_of(tmp_path, {"main.go": MAIN + 'import "io"\n'}))["setup"] != before


def test_files_for_some_systems_are_not_compiled_before(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, GO | {"main.go": f"//go:build windows\n\n{MAIN}", "testdata/a.go": MAIN})
    assert "import" not in shells(plan)["setup"]


def test_a_go_workspace(tmp_path: Path) -> None:
    files = {
        "go.work": "go 1.21\nuse (\n\t./a\n\t./b\n)\nuse ../out\n",
        "a/go.mod": "module a\nreplace x => ../c\nreplace y => ./sub v1.0.0\n",
        "a/sub/go.mod": "module y\n",
        "a/go.sum": "x",
        "b/go.mod": "module b\n",
        "c/go.mod": "module c\n",
    }
    plan = plan_of(tmp_path, files)
    assert inputs_of(plan) == ("a/go.mod", "a/go.sum", "a/sub/go.mod", "b/go.mod", "c/go.mod", "go.work")
    assert shells(plan)["test"].splitlines()[-1] == "go test ./a/... ./b/..."


@pytest.mark.parametrize(
    ("files", "why"),
    [
        (GO | {"vendor/modules.txt": ""}, "vendor is part of the project"),
        (GO | {"go.mod": "module x\nreplace y => ../out\n"}, "a replacement in go.mod is not a folder of the project"),
        (RUST | {"vendor/dep/Cargo.toml": ""}, "vendor is part of the project"),
        ({"Cargo.toml": "", "src/lib.rs": ""}, "there is no Cargo.lock"),
        ({"Cargo.toml": "", "Cargo.lock": ""}, "its packages have no sources in the usual places"),
    ],
)
def test_what_cannot_be_prepared(tmp_path: Path, files: dict[str, str], why: str) -> None:
    plan = plan_of(tmp_path, files)
    assert plan.setup is None
    assert list(shells(plan)) == ["build", "test"]
    assert f"ci: no environment is prepared: {why}" in shells(plan)["build"]


@pytest.mark.parametrize("files", [{"go.mod": "module x\n", "main.go": ""}, RUST | {"Cargo.lock": "version = 3\n"}])
def test_without_dependencies_nothing_is_prepared(tmp_path: Path, files: dict[str, str]) -> None:
    plan = plan_of(tmp_path, files)
    assert plan.setup is None
    assert "no environment" not in shells(plan)["build"]


@pytest.mark.parametrize("files", [GO, RUST])
def test_where_nothing_is_kept_there_is_no_setup(tmp_path: Path, files: dict[str, str]) -> None:
    plan = plan_of(tmp_path, files, settings=Settings(prepared_bytes=0))
    assert list(shells(plan)) == ["build", "test"]


def test_a_rust_workspace(tmp_path: Path) -> None:
    files = {
        **RUST,
        "a/Cargo.toml": '[package]\nname = "a"\n[[bin]]\nname = "x"\npath = "code/x.rs"\n',
        "a/code/x.rs": "",
        "a/build.rs": "",
        "a/tests/t.rs": "",
        "a/tests/u/main.rs": "",
        "a/src/bin/tool.rs": "",
        "a/src/other.rs": "",
        "target/Cargo.toml": "",
        "rust-toolchain": "1.75",
        ".cargo/config.toml": "",
    }
    plan = plan_of(tmp_path, files)
    assert inputs_of(plan) == (".cargo/config.toml", "Cargo.lock", "Cargo.toml", "a/Cargo.toml", "rust-toolchain")
    setup = shells(plan)["setup"]
    made = [line.rpartition(">")[2] for line in setup.splitlines() if line.startswith("mkdir -p")]
    assert made == ["a/build.rs", "a/code/x.rs", "a/src/bin/tool.rs", "a/tests/t.rs", "a/tests/u/main.rs", "src/lib.rs"]
    assert "cargo test --no-run --locked" in setup
    assert shells(plan)["test"].splitlines()[-1] == "cargo test --locked"


PYPROJECT = {"pyproject.toml": ""}
PYTHON_TEST = {"tests/test_a.py": ""}


@pytest.mark.parametrize(
    ("files", "tested", "left"),
    [
        (PYPROJECT | NODE | GO | RUST, "python -m pytest", "go.mod and package.json and Cargo.toml"),
        (PYTHON_TEST | NODE, "npm test", "its Python files"),
        (PYTHON_TEST | {"package.json": "{}"}, "python -m pytest", None),
        (GO | NODE | PYTHON_TEST, "go test", "package.json and its Python files"),
        (RUST | NODE, "npm test", "Cargo.toml"),
        (RUST | {"package.json": "{}"}, "cargo test", None),
    ],
)
def test_of_several_languages_one_is_tested_and_the_log_says_so(
    tmp_path: Path, files: dict[str, str], tested: str, left: str | None
) -> None:
    plan = plan_of(tmp_path, files)
    assert tested in shells(plan)["test"]
    before = plan.setup.steps if plan.setup else 0
    said = plan.steps[before].shell or ""
    assert ("leaves" in said) is (left is not None)
    assert left is None or f"leaves {left} alone; steps in ci.yaml" in said
    assert all("leaves" not in (step.shell or "") for step in plan.steps[:before])


def test_a_folder_that_is_a_project_is_found(tmp_path: Path) -> None:
    assert plan_of(tmp_path, {f"thing-1.0/{name}": text for name, text in RUST.items()}).directory == "thing-1.0"
