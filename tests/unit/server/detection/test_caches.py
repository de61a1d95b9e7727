"""The keys of caches: which files they depend on, and what is refused."""

from pathlib import Path

import pytest

from ci_common.errors import CacheConflict, InputMissing
from ci_common.settings import Settings
from ci_common.spec import Spec
from ci_common.spec_parts.caches import JOB_ID
from ci_server.detection.projects import resolve, resolve_command
from tests.helpers.service import tree

FILES = {"requirements.txt": "one\n", "requirements-dev.txt": "two\n", "other.txt": "x\n"}


def key_of(project: Path, key: str, **more: object) -> str:
    spec = Spec.model_validate({"image": "i:1", "command": "true", "cache": [{"path": "p", "key": key, **more}]})
    (cache,) = resolve(project, spec, Settings()).plan.caches
    return cache.key


def test_a_key_depends_on_the_files_that_it_names_and_on_no_others(tmp_path: Path) -> None:
    project = tree(tmp_path / "project", FILES)
    key = "pip-{{ hash('requirements*.txt') }}"
    first = key_of(project, key)
    assert first.startswith("pip-")
    assert len(first) == len("pip-") + 16
    (project / "other.txt").write_text("y\n")
    assert key_of(project, key) == first
    (project / "requirements-dev.txt").write_text("three\n")
    assert key_of(project, key) != first
    assert key_of(project, "a-{{ image }}-{{ job_id }}") == f"a-i:1-{JOB_ID}"


def test_ci_yaml_has_caches_and_a_request_replaces_them(tmp_path: Path) -> None:
    text = "steps: ['true']\ncache:\n- {path: ~/.npm, key: \"npm-{{ hash('other.txt') }}\", restore: npm-}\n"
    project = tree(tmp_path / "project", {**FILES, "ci.yaml": text})
    (cache,) = resolve(project, Spec(), Settings()).plan.caches
    assert (cache.path, cache.restore) == ("~/.npm", ("npm-",))
    assert resolve(project, Spec.model_validate({"cache": []}), Settings()).plan.caches == ()


def test_a_pattern_without_files_is_refused(tmp_path: Path) -> None:
    project = tree(tmp_path / "project", FILES)
    with pytest.raises(InputMissing) as caught:
        key_of(project, "ok", restore=["ok", "{{ hash('*.lock') }}"])
    (error,) = caught.value.errors
    assert error.path == "cache.0.restore.1"
    assert error.message == "no file of the project matches '*.lock'"


def test_without_an_upload_there_is_nothing_to_hash() -> None:
    spec = Spec.model_validate({"command": "true", "cache": [{"path": "p", "key": "{{ hash('a') }}"}]})
    with pytest.raises(CacheConflict, match=r"cache\.0\.key: without an upload"):
        resolve_command(spec, Settings())


def test_a_key_that_becomes_too_long_is_refused(tmp_path: Path) -> None:
    project = tree(tmp_path / "project", FILES)
    spec = {"image": "i" * 100, "command": "true", "cache": [{"path": "p", "key": "k" * 490 + "{{image}}"}]}
    with pytest.raises(CacheConflict, match="at most 512"):
        resolve(project, Spec.model_validate(spec), Settings())


def test_a_file_belongs_to_one_cache() -> None:
    caches = [{"path": path, "key": "k"} for path in ("a", "a-b", "a/c")]
    spec = Spec.model_validate({"command": "true", "cache": caches})
    with pytest.raises(CacheConflict, match=r"cache\.2\.path: 'a/c' belongs to two caches"):
        resolve_command(spec, Settings())
