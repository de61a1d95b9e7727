"""Node.js, Go and Rust projects by detection alone, with the real tools: the second job starts from what was prepared.

Packages of Go and Rust come from a directory in the image, so these tests need no network; those of Node.js do.
"""

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ci_client.aio import CiClient
from tests.e2e.test_environments import images_of, own_label
from tests.helpers.service import Service, finished, text_of, tree
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.docker

PACKAGES = "/opt/packages"
"""Where the image has packages of Go and Rust."""
NODE = {
    "scripts": {"test": "node test.js", "postinstall": "node -e \"require('./own')\""},
    "dependencies": {"is-number": "7.0.0"},
}
NODE_FILES = {
    "own.js": "",
    "test.js": "console.log(require('is-number')(1) ? 'a number' : 'none', require('./packages/a').value)\n",
    "packages/a/package.json": '{"name": "a", "version": "1.0.0", "dependencies": {"is-odd": "3.0.1"}}',
    "packages/a/index.js": "exports.value = require('is-odd')(3) && require('a/value')\n",
    "packages/a/value.js": "module.exports = 'first'\n",
}
YARN = ["--package=@yarnpkg/cli-dist@4.5.0", "yarn", "install", "--mode=update-lockfile"]
MANAGERS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "npm": ({}, ["npm", "install", "--package-lock-only"]),
    "pnpm": ({}, ["npx", "--yes", "pnpm@9.12.0", "install", "--lockfile-only"]),
    "pnpm by corepack": (
        {"packageManager": "pnpm@9.12.0"},
        ["npx", "--yes", "pnpm@9.12.0", "install", "--lockfile-only"],
    ),
    "yarn classic": ({}, ["npx", "--yes", "yarn@1.22.22", "install", "--ignore-scripts"]),
    "yarn": ({"packageManager": "yarn@4.5.0"}, ["npx", "--yes", *YARN]),
}
GO_FILES = {
    "go.mod": "module example.org/me\n\ngo 1.19\n",
    "me.go": 'package me\n\nimport "example.org/dep"\n\nfunc Value() int { return dep.Value }\n',
    "me_test.go": 'package me\n\nimport "testing"\n\nfunc TestValue(t *testing.T) {\n'
    '\tif Value() != 1 {\n\t\tt.Fatal("wrong value")\n\t}\n}\n',
    "ci.yaml": f"env: {{GOPROXY: 'file://{PACKAGES}/go', GONOSUMDB: '*', GOTOOLCHAIN: local}}\n",
}
RUST_FILES = {
    "Cargo.toml": '[package]\nname = "me"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\ndep = "1"\n',
    "src/lib.rs": "pub fn value() -> i32 { dep::VALUE }\n",
    "tests/value.rs": "#[test]\nfn value() { assert_eq!(me::value(), 1) }\n",
    "src/main.rs": 'fn main() { println!("{}", me::value()) }\n',
    ".cargo/config.toml": '[source.crates-io]\nreplace-with = "here"\n'
    f'[source.here]\nregistry = "file://{PACKAGES}/rust/index"\n',
}


@pytest.fixture
def runtime() -> str:
    """These tests are about one runtime."""
    return "docker"


@pytest.fixture
def environment(environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """Environments that the test has made are removed at its end."""
    yield environment
    for name in images_of(own_label(environment)):
        subprocess.run(["docker", "image", "rm", "--force", name], capture_output=True, check=False)


def docker(*words: str) -> str:
    """Return what a command of Docker writes."""
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def packages_image(toolchains_image: str, tmp_path: Path) -> Iterator[str]:
    """An image with the package `dep` for Go and for Rust."""
    write_go_proxy(tmp_path / "packages" / "go")
    write_rust_registry(tmp_path / "packages" / "rust")
    container = docker("create", toolchains_image, "sh")
    docker("cp", str(tmp_path / "packages"), f"{container}:/opt/")
    image = docker("commit", container)
    docker("rm", container)
    yield image
    subprocess.run(["docker", "image", "rm", "--force", image], capture_output=True, check=False)


def write_go_proxy(directory: Path) -> None:
    """Write a module proxy that has `example.org/dep`."""
    files = {"go.mod": "module example.org/dep\n\ngo 1.19\n", "dep.go": "package dep\n\nconst Value = 1\n"}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"example.org/dep@v1.0.0/{name}", text)
    info = '{"Version": "v1.0.0", "Time": "2024-01-01T00:00:00Z"}'
    versions = {"list": "v1.0.0\n", "v1.0.0.info": info, "v1.0.0.mod": files["go.mod"], "v1.0.0.zip": packed.getvalue()}
    tree(directory / "example.org/dep/@v", versions)


def write_rust_registry(directory: Path) -> None:
    """Write a registry that has `dep`: an index that Cargo clones, and the packages."""
    files = {
        "Cargo.toml": '[package]\nname = "dep"\nversion = "1.0.0"\nedition = "2021"\n',
        "src/lib.rs": "pub const VALUE: i32 = 1;\n",
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"dep-1.0.0/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    crate = packed.getvalue()
    line = {
        "name": "dep", "vers": "1.0.0", "deps": [], "features": {}, "yanked": False,
        "cksum": hashlib.sha256(crate).hexdigest(),
    }  # fmt: skip
    download = {"dl": f"file://{PACKAGES}/rust/{{crate}}-{{version}}.crate"}
    tree(directory, {"dep-1.0.0.crate": crate, "index/3/d/dep": json.dumps(line) + "\n"})
    index = tree(directory / "index", {"config.json": json.dumps(download)})
    author = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for words in (["init", "--quiet"], ["add", "."], [*author, "commit", "--quiet", "--message", "dep"]):
        subprocess.run(["git", *words], cwd=index, check=True)


async def run(client: CiClient, project: Path, image: str, **spec: Any) -> tuple[dict[str, Any], str]:
    """Return a job that has ended, and its log."""
    job_id = await client.submit(project, spec={"image": image, **spec})
    job = await finished(client, job_id, within=300)
    return job, await text_of(client, job_id)


async def run_prepared(client: CiClient, project: Path, image: str) -> tuple[str, str]:
    """Run the project, wait for its environment, and return the logs of this job and of one that starts from it."""
    first, before = await run(client, project, image)
    assert first["conclusion"] == "succeeded", before
    assert first["environment"]["hit"] is False

    async def prepared() -> list[dict[str, Any]]:
        return await client.environments()

    await eventually(prepared, "the environment is prepared", timeout=300)
    second, after = await run(client, project, image)
    assert second["conclusion"] == "succeeded", after
    assert second["environment"]["hit"] is True
    return before, after


async def check_downloads(client: CiClient, project: Path, image: str) -> None:
    """Check that a job whose environment is not there installs without a network what was downloaded before."""
    offline = {
        "npm_config_offline": "true",
        "YARN_ENABLE_NETWORK": "0",
        "COREPACK_ENABLE_NETWORK": "0",
        "GOPROXY": "off",
        "CARGO_NET_OFFLINE": "true",
    }
    job, log = await run(client, project, image, network=False, env=offline)
    assert (job["conclusion"], job["environment"]["hit"]) == ("succeeded", False), log


@pytest.mark.parametrize("manager", MANAGERS)
async def test_node(service: Service, toolchains_image: str, tmp_path: Path, manager: str) -> None:
    if shutil.which("node") is None:
        pytest.skip("Node.js is not installed here")
    fields, lock = MANAGERS[manager]
    manifest = NODE | fields | {"private": True, "workspaces": ["packages/*"]}
    workspaces = {"pnpm-workspace.yaml": "packages:\n  - packages/*\n"} if "pnpm" in manager else {}
    project = tree(tmp_path / "project", NODE_FILES | workspaces | {"package.json": json.dumps(manifest)})
    if manager == "yarn":
        tree(project, {".yarnrc.yml": "nodeLinker: node-modules\n"})
    if "pnpm" in manager:  # Only there, a package does not see itself by its name.
        tree(project, {"packages/a/index.js": "exports.value = require('is-odd')(3) && require('./value')\n"})
    locked = subprocess.run(lock, cwd=project, capture_output=True, text=True, env={**os.environ, "CI": ""})
    if locked.returncode != 0:
        pytest.skip(f"packages cannot be had: {locked.stderr}")
    for made in ("node_modules", "packages/a/node_modules", ".yarn"):
        shutil.rmtree(project / made, ignore_errors=True)

    async with CiClient(service.url) as client:
        _, log = await run_prepared(client, project, toolchains_image)
        assert "a number first" in log
        await check_downloads(client, project, toolchains_image)
        tree(project, {"packages/a/value.js": "module.exports = 'second'\n"})
        job, log = await run(client, project, toolchains_image)
        assert job["environment"]["hit"] is True
        assert "a number second" in log


async def test_go(service: Service, packages_image: str, tmp_path: Path) -> None:
    project = tree(tmp_path / "project", GO_FILES)
    variables = [word for name in ("GOPROXY", "GONOSUMDB") for word in ("--env", f"{name}={go_variable(name)}")]
    get = ["sh", "-c", "cd /project && HOME=/tmp go get example.org/dep@v1.0.0"]
    docker("run", "--rm", "--volume", f"{project}:/project", *variables, packages_image, *get)
    async with CiClient(service.url) as client:
        _, log = await run_prepared(client, project, packages_image)
        assert "ok  \texample.org/me" in log
        assert "downloading" not in log
        await check_downloads(client, project, packages_image)
        tree(project, {"me.go": GO_FILES["me.go"].replace("dep.Value", "dep.Value + 1")})
        job, log = await run(client, project, packages_image)
        assert (job["conclusion"], job["environment"]["hit"]) == ("failed", True)
        assert "wrong value" in log


def go_variable(name: str) -> str:
    return {"GOPROXY": f"file://{PACKAGES}/go", "GONOSUMDB": "*"}[name]


async def test_rust(service: Service, packages_image: str, tmp_path: Path) -> None:
    project = tree(tmp_path / "project", RUST_FILES)
    lock = ["sh", "-c", "cd /project && CARGO_HOME=/tmp/cargo cargo generate-lockfile"]
    docker("run", "--rm", "--volume", f"{project}:/project", packages_image, *lock)
    async with CiClient(service.url) as client:
        before, log = await run_prepared(client, project, packages_image)
        assert "Compiling dep v1.0.0" in before
        assert "Compiling me v0.1.0" in log
        assert "Compiling dep v1.0.0" not in log
        assert "test value ... ok" in log
        await check_downloads(client, project, packages_image)
        tree(project, {"src/lib.rs": "pub fn value() -> i32 { dep::VALUE + 1 }\n"})
        job, log = await run(client, project, packages_image)
        assert (job["conclusion"], job["environment"]["hit"]) == ("failed", True)
        assert "test value ... FAILED" in log
