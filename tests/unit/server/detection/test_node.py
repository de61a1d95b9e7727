"""What is detected of Node.js projects: the package manager, the image, the setup and its inputs."""

import json
from pathlib import Path
from typing import Any

import pytest

from ci_common.errors import InvalidRequest, UnrecognisedProject
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan, Spec
from ci_server.detection.projects import resolve
from tests.helpers.service import tree

LOCKED = {"package-lock.json": '{"lockfileVersion": 3}'}


def manifest(**fields: Any) -> dict[str, str]:
    return {"package.json": json.dumps({"scripts": {"test": "node test.js"}, **fields})}


def plan_of(directory: Path, files: dict[str, str], *, settings: Settings | None = None, **spec: Any) -> ExecutionPlan:
    tree(directory, files)
    return resolve(directory, Spec.model_validate(spec), settings or Settings()).plan


def shells(plan: ExecutionPlan) -> dict[str, str]:
    return {step.name: step.shell or "" for step in plan.steps}


def test_the_setup_installs_outside_of_the_workspace(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, manifest() | LOCKED | {"index.js": ""})
    assert plan.image == "node:lts-slim"
    assert plan.setup is not None
    assert (plan.setup.steps, plan.setup.inputs, plan.setup.pinned) == (1, ("package-lock.json", "package.json"), True)
    assert not plan.python_environment
    assert list(shells(plan)) == ["setup", "install", "test"]
    setup = shells(plan)["setup"].splitlines()
    assert setup.index('cd "${CI_ENV:-$HOME}/ci-project"') < setup.index("npm ci --no-audit --no-fund")
    assert plan.takes_downloads
    assert shells(plan)["test"].splitlines()[1:] == ['cd "${CI_ENV:-$HOME}/ci-project"', "npm test"]
    assert "npm (package-lock.json), image node:lts-slim (default)" in shells(plan)["install"]


@pytest.mark.parametrize(
    ("fields", "files", "install"),
    [
        ({}, LOCKED, "npm ci --no-audit --no-fund"),
        ({}, {}, "npm install --no-audit --no-fund"),
        ({}, {"npm-shrinkwrap.json": "{}"}, "npm ci --no-audit --no-fund"),
        ({}, {"pnpm-lock.yaml": "lockfileVersion: '9.0'\n"}, "pnpm install --frozen-lockfile"),
        ({}, {"pnpm-lock.yaml": "lockfileVersion: '6.0'\n"} | LOCKED, "pnpm install --frozen-lockfile"),
        ({}, {"yarn.lock": "# yarn lockfile v1\n"}, "yarn install --non-interactive --frozen-lockfile"),
        ({}, {"yarn.lock": "__metadata:\n  version: 8\n"}, "yarn install --immutable"),
        ({"packageManager": "yarn@1.22.22"}, LOCKED, "yarn install --non-interactive --no-frozen-lockfile"),
        ({"packageManager": "pnpm@9.1.0+sha512.abc"}, LOCKED, "pnpm install --no-frozen-lockfile"),
        ({"packageManager": "npm@10.0.0"}, {"yarn.lock": ""} | LOCKED, "npm ci --no-audit --no-fund"),
    ],
)
def test_the_package_manager(tmp_path: Path, fields: dict[str, Any], files: dict[str, str], install: str) -> None:
    assert f"\n{install}\n" in shells(plan_of(tmp_path, manifest(**fields) | files))["setup"]


@pytest.mark.parametrize(
    ("fields", "files", "provide"),
    [
        ({"packageManager": "pnpm@9.1.0"}, {}, "corepack enable"),
        ({"packageManager": "pnpm@9.1.0"}, {}, " pnpm@9.1.0"),
        ({"packageManager": "yarn@4.1.0"}, {}, " @yarnpkg/cli-dist@4.1.0"),
        ({}, {"pnpm-lock.yaml": "lockfileVersion: '6.0'\n"}, " pnpm@8"),
        ({}, {"pnpm-lock.yaml": "lockfileVersion: '9.0'\n"}, " pnpm@9"),
        (
            {},
            {"pnpm-lock.yaml": "lockfileVersion: '9.0'\n", "pnpm-workspace.yaml": "onlyBuiltDependencies: []\n"},
            " pnpm@10",
        ),
        ({}, {"yarn.lock": "# yarn lockfile v1\n"}, " yarn@1"),
        ({}, {"yarn.lock": "__metadata:\n  version: 6\n"}, " @yarnpkg/cli-dist@3"),
    ],
)
def test_what_provides_the_package_manager(
    tmp_path: Path, fields: dict[str, Any], files: dict[str, str], provide: str
) -> None:
    assert provide in shells(plan_of(tmp_path, manifest(**fields) | files))["setup"]


@pytest.mark.parametrize(
    ("fields", "files", "image"),
    [
        ({"engines": {"node": "20"}}, {}, "node:20-slim"),
        ({"engines": {"node": "^18.17.0 || ^20.3.0"}}, {}, "node:20-slim"),
        ({"engines": {"node": ">=18"}}, {}, "node:lts-slim"),
        ({"engines": {"node": ">= 18.0.0 < 21"}}, {}, "node:20-slim"),
        ({"engines": {"node": ">=18 <=20.5"}}, {}, "node:20-slim"),
        ({"engines": {"node": "16 - 18"}}, {}, "node:18-slim"),
        ({"engines": {"node": ">=77"}}, {}, "node:77-slim"),
        ({"engines": {"node": "20.11.1"}}, {}, "node:20.11.1-slim"),
        ({"engines": {"node": "~20.11"}}, {}, "node:20-slim"),
        ({"engines": {"node": "20.x"}}, {}, "node:20-slim"),
        ({"engines": {"node": "*"}}, {}, "node:lts-slim"),
        ({"engines": {"node": "what?"}}, {}, "node:lts-slim"),
        ({"engines": {"npm": ">=9"}}, {}, "node:lts-slim"),
        ({"engines": "x"}, {}, "node:lts-slim"),
        ({"volta": {"node": "18.2.0"}, "engines": {"node": "20"}}, {}, "node:18.2.0-slim"),
        ({"engines": {"node": "20"}}, {".nvmrc": "v22.1.0\n"}, "node:22.1.0-slim"),
        ({}, {".nvmrc": "lts/iron\n"}, "node:iron-slim"),
        ({}, {".nvmrc": "lts/*\n"}, "node:lts-slim"),
        ({}, {".node-version": "20\n"}, "node:20-slim"),
        ({"engines": {"node": "20"}}, {".nvmrc": "$(id)\n"}, "node:20-slim"),
        ({"engines": {"node": "20"}}, {"ci.yaml": "image: mine:1"}, "mine:1"),
    ],
)
def test_the_image(tmp_path: Path, fields: dict[str, Any], files: dict[str, str], image: str) -> None:
    assert plan_of(tmp_path, manifest(**fields) | files).image == image


@pytest.mark.parametrize(
    "scripts", [None, {}, {"test": ""}, {"test": 'echo "Error: no test specified" && exit 1'}, {"test": 1}, []]
)
def test_without_a_test_script_it_is_no_project(tmp_path: Path, scripts: object) -> None:
    with pytest.raises(UnrecognisedProject, match=r"package\.json with a test script"):
        plan_of(tmp_path, manifest(scripts=scripts) | LOCKED)


def test_a_manifest_that_is_no_json(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"package\.json is not valid"):
        plan_of(tmp_path, {"package.json": "{"})
    with pytest.raises(InvalidRequest, match=r"package\.json is not valid: it is not an object"):
        plan_of(tmp_path, {"package.json": "[]"})


@pytest.mark.parametrize(
    "declared",
    [
        manifest(workspaces=["packages/*", "!packages/b", "../out", "/out"]) | LOCKED,
        manifest(workspaces={"packages": ["./packages/*/"]}) | LOCKED,
        manifest() | {"pnpm-lock.yaml": "", "pnpm-workspace.yaml": "packages:\n  - 'packages/*'\n"},
    ],
)
def test_manifests_of_workspaces_are_inputs(tmp_path: Path, declared: dict[str, str]) -> None:
    members = {
        "packages/a/package.json": '{"bin": {"a": "./bin/a.js", "missing": "dist/a.js", "out": "../../../x"}}',
        "packages/a/bin/a.js": "",
        "packages/b/package.json": '{"bin": "b.js"}',
        "packages/b/b.js": "",
        "packages/b/node.js": "",
        "elsewhere/package.json": "{}",
    }
    plan = plan_of(tmp_path, declared | members)
    assert plan.setup is not None
    assert {name for name in plan.setup.inputs if "/" in name} == {
        "packages/a/bin/a.js", "packages/a/package.json", "packages/b/b.js", "packages/b/package.json",
    }  # fmt: skip


def test_configuration_and_patches_are_inputs(tmp_path: Path) -> None:
    files = {"yarn.lock": "__metadata:\n  version: 8\n", ".yarnrc.yml": "yarnPath: x", ".npmrc": "", "a.js": ""}
    plan = plan_of(tmp_path, manifest() | files | {".yarn/releases/yarn.cjs": "", ".yarn/patches/a.patch": ""})
    assert plan.setup is not None
    assert plan.setup.inputs == (
        ".npmrc", ".yarn/patches/a.patch", ".yarn/releases/yarn.cjs", ".yarnrc.yml", "package.json", "yarn.lock",
    )  # fmt: skip


def test_scripts_of_the_project_run_with_all_of_its_files(tmp_path: Path) -> None:
    member = {"packages/a b/package.json": '{"scripts": {"prepare": "make", "test": "x"}}'}
    scripts = {"test": "x", "postinstall": "y", "preinstall": "z"}
    shell = shells(plan_of(tmp_path, manifest(scripts=scripts, workspaces=["packages/*"]) | LOCKED | member))
    assert "node -e " in shell["setup"]
    assert "'packages/a b/package.json' package.json\n" in shell["setup"]
    assert shell["install"].splitlines()[-3:] == [
        "(cd './packages/a b' && npm run prepare)", "npm run preinstall", "npm run postinstall",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "files", "why"),
    [
        ({"dependencies": {"a": "file:./a"}}, LOCKED, "package.json has dependencies that are files of the project"),
        ({}, LOCKED | {"node_modules/a/index.js": ""}, "node_modules is part of the project"),
        ({}, {"yarn.lock": "", ".yarn/cache/a.zip": ""}, ".yarn/cache is part of the project"),
    ],
)
def test_what_cannot_be_prepared_is_installed_in_each_job(
    tmp_path: Path, fields: dict[str, Any], files: dict[str, str], why: str
) -> None:
    plan = plan_of(tmp_path, manifest(**fields) | files)
    assert plan.setup is None
    assert list(shells(plan)) == ["install", "test"]
    assert f"ci: no environment is prepared: {why}" in shells(plan)["install"]


def test_where_nothing_is_kept_it_is_installed_in_the_workspace(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, manifest() | LOCKED, settings=Settings(prepared_bytes=0))
    assert plan.setup is None
    assert shells(plan)["install"].splitlines()[-1] == "npm ci --no-audit --no-fund"
    assert shells(plan)["test"].splitlines()[-1] == "npm test"
    assert "no environment" not in shells(plan)["install"]


def test_a_setup_in_ci_yaml_wins(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, manifest() | LOCKED | {"ci.yaml": "setup: make deps"})
    assert list(shells(plan)) == ["setup", "install", "test"]
    assert shells(plan)["setup"] == "make deps"
    assert "ci-project" not in shells(plan)["test"]
