"""Detects a Node.js project, and plans the steps that install and test it.

A package manager installs beside `package.json`, into the workspace, of which nothing is kept. So the setup installs in
a directory outside of it, and each job copies the project there: what is installed is where every tool looks for it.
"""

import shlex
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from ci_server.detection.detected import HOME, OWN_HOME, SETUP, Detected, lines, say, shell_steps
from ci_server.detection.downloads import FUNCTIONS, installing, with_downloads
from ci_server.detection.node.image import node_image
from ci_server.detection.node.manager import find_manager
from ci_server.detection.node.test_runners import reporting
from ci_server.detection.reading.project_files import ProjectFiles

MANIFEST = "package.json"
LOCAL_FOLDER = f"{HOME}/ci-project"
"""Where the project is tested, with its packages."""
_MOST_MEMBERS = 500
_UNTESTED = "no test specified"
_OWN_SCRIPTS = ("preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare")
"""The scripts of a project that installing it runs, in this order. They may need all of its files."""
_READ = (".npmrc", ".yarnrc", ".yarnrc.yml", ".pnpmfile.cjs", ".pnp.cjs", "pnpm-workspace.yaml")
_FOLDERS = (".yarn/releases", ".yarn/plugins", ".yarn/patches", "patches")
_DEPENDENCIES = ("dependencies", "devDependencies", "optionalDependencies", "resolutions", "overrides")
_LOCAL = ("file:", "link:", "portal:", "./", "../")
_STRIP = (
    "const f=require('fs');for(const n of process.argv.slice(1)){const p=JSON.parse(f.readFileSync(n));"
    f"for(const s of {list(_OWN_SCRIPTS)})delete (p.scripts||{{}})[s];f.writeFileSync(n,JSON.stringify(p,null,2))}}"
)


def test_script(files: ProjectFiles) -> str | None:
    """Return the script `test` of `package.json`; None if there is none, or only the one that `npm init` writes."""
    scripts = files.json(MANIFEST).get("scripts")
    script = scripts.get("test") if isinstance(scripts, dict) else None
    return script if isinstance(script, str) and script.strip() and _UNTESTED not in script else None


def node_steps(directory: Path, *, prepared: bool) -> Detected:
    """Return how a Node.js project is installed and tested. Raises InvalidRequest."""
    project = _Project(ProjectFiles(directory))
    return project.prepared() if prepared and not project.obstacle else project.plain(is_wanted=prepared)


class _Project:
    def __init__(self, files: ProjectFiles) -> None:
        self._files = files
        self._manifest = files.json(MANIFEST)
        self._manager = find_manager(files, self._manifest)
        self._members = {name: files.json(name) for name in islice(self._find_members(), _MOST_MEMBERS + 1)}
        self._image, self._image_from = node_image(files, self._manifest)
        self.obstacle = self._obstacle()

    def plain(self, *, is_wanted: bool) -> Detected:
        manager = self._manager
        why = say(f"no environment is prepared: {self.obstacle}") if is_wanted and self.obstacle else ""
        install = lines(OWN_HOME, manager.preamble, why + say(self._choice()), manager.provide, manager.install)
        return Detected(
            shell_steps({"install": install, "test": lines(OWN_HOME, manager.preamble, self._test())}),
            image=self._image,
        )

    def prepared(self) -> Detected:
        manager = self._manager
        own = {name: scripts for name in [*self._members, MANIFEST] if (scripts := self._own_scripts(name))}
        strip = f"node -e {shlex.quote(_STRIP)} {shlex.join(own)}" if own else ""
        copy = f'mkdir -p "{LOCAL_FOLDER}"\ncp -a . "{LOCAL_FOLDER}"\ncd "{LOCAL_FOLDER}"'
        scripts = [self._run_in(name, script) for name, scripts in own.items() for script in scripts]
        texts = {
            SETUP: with_downloads(lines(OWN_HOME, manager.preamble, copy, strip, self._install())),
            "install": lines(OWN_HOME, manager.preamble, say(self._choice()), copy, *scripts),
            "test": lines(OWN_HOME, manager.preamble, f'cd "{LOCAL_FOLDER}"', self._test()),
        }
        return Detected(
            shell_steps(texts),
            1,
            tuple(sorted(self._inputs())),
            is_pinned=manager.lock is not None,
            image=self._image,
            preambles=(FUNCTIONS,),
        )

    def _install(self) -> str:
        manager = self._manager
        return installing(manager.caches, manager.provide, manager.install, manager.clean)

    def _test(self) -> str:
        command = self._manager.run("test")
        # Yarn since version 2 runs scripts by a shell of its own.
        return command if self._manager.is_berry else reporting(self._files, self._manifest, command)

    def _choice(self) -> str:
        manager = self._manager
        by = "packageManager" if manager.is_named else manager.lock or "default, since there is no lock file"
        version = f" {manager.version}" if manager.version else ""
        return f"Node.js: {manager.name}{version} ({by}), image {self._image} ({self._image_from})"

    def _obstacle(self) -> str:
        """Return why the project cannot be installed without its other files; empty if it can."""
        if len(self._members) > _MOST_MEMBERS:
            return f"there are more than {_MOST_MEMBERS} workspaces"
        if (self._files.directory / ".yarn" / "cache").is_dir():
            return ".yarn/cache is part of the project"
        for name, manifest in [(MANIFEST, self._manifest), *self._members.items()]:
            if (self._files.directory / name).with_name("node_modules").is_dir():
                return "node_modules is part of the project"
            if any(self._is_local(manifest.get(kind)) for kind in _DEPENDENCIES):
                return f"{name} has dependencies that are files of the project"
        return ""

    @staticmethod
    def _is_local(table: object) -> bool:
        values = table.values() if isinstance(table, dict) else ()
        return any(isinstance(value, str) and value.startswith(_LOCAL) for value in values)

    def _find_members(self) -> Iterator[str]:
        """Yield the manifests of the workspaces."""
        directory = self._files.directory
        for pattern in dict.fromkeys(self._patterns()):
            for path in sorted(directory.glob(f"{pattern}/{MANIFEST}")):
                name = path.relative_to(directory).as_posix()
                if "node_modules" not in path.parts and name != MANIFEST and self._files.has(name):
                    yield name

    def _patterns(self) -> Iterator[str]:
        declared: Any = self._manifest.get("workspaces")
        declared = declared.get("packages") if isinstance(declared, dict) else declared
        listed = [word for word in declared if isinstance(word, str)] if isinstance(declared, list) else []
        if self._manager.name == "pnpm":
            text = self._files.text("pnpm-workspace.yaml")
            block = text.partition("packages:")[2].splitlines()[1:]
            rows = islice((row.strip() for row in block if row.strip()), 200)
            listed = [row[1:].strip(" '\"") for row in rows if row.startswith("-")]
        for word in listed:
            pattern = word.removeprefix("./").rstrip("/")
            if pattern and not pattern.startswith(("!", "/")) and ".." not in pattern and pattern.count("**") <= 1:
                yield pattern

    def _own_scripts(self, name: str) -> list[str]:
        manifest = self._manifest if name == MANIFEST else self._members[name]
        scripts = manifest.get("scripts")
        return [script for script in _OWN_SCRIPTS if isinstance(scripts, dict) and scripts.get(script)]

    def _run_in(self, manifest: str, script: str) -> str:
        folder, _, _ = manifest.rpartition("/")
        command = self._manager.run(script)
        return f"(cd {shlex.quote(f'./{folder}')} && {command})" if folder else command

    def _inputs(self) -> Iterator[str]:
        yield from (MANIFEST, *self._members)
        yield from (name for name in (self._manager.lock, *_READ) if name and self._files.has(name))
        for folder in _FOLDERS:
            for path in (self._files.directory / folder).glob("**/*"):
                name = path.relative_to(self._files.directory).as_posix()
                if path.is_file() and self._files.has(name):
                    yield name
        for member, manifest in self._members.items():
            # Links to programs are made only to what is there.
            programs = manifest.get("bin")
            for program in programs.values() if isinstance(programs, dict) else (programs,):
                found = self._files.inside(str(program), member.rpartition("/")[0]) if program else None
                if found is not None and self._files.has(found):
                    yield found
