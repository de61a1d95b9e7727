"""The key of a prepared environment: a digest of all that its content depends on, and of who may use it."""

import hashlib
import json
import re

from ci_common.jobs import Job
from ci_common.spec import ExecutionPlan

VERSION = 1
KEY_LENGTH = 32
_CHOOSE_TESTS = {
    "PYTEST_ADDOPTS": re.compile(r".*", re.DOTALL),
    "GOFLAGS": re.compile(r"-run=\S*"),
    "MAVEN_ARGS": re.compile(r"-Dtest=\S*(?: -Dsurefire\.failIfNoSpecifiedTests=false)?"),
}
"""Variables that say which tests to run, which no setup does, and their values that say no more than that."""


def scope_of(job: Job) -> str:
    """Return a name for the jobs that may share what they have downloaded: those of an owner and a project."""
    return hashlib.sha256(json.dumps([job.owner, job.project]).encode()).hexdigest()[:KEY_LENGTH]


def key_of(job: Job, plan: ExecutionPlan, basis: str) -> str:
    """Return the key for the setup of a job. `basis` is what `EnvironmentMaker.basis_of` returned.

    Owner and project are part of it, so no job starts from what jobs of others have made.
    """
    assert plan.setup is not None, "the caller has checked that there is one"
    parts = {
        "version": VERSION,
        "owner": job.owner,
        "project": job.project,
        "basis": basis,
        "setup": [step.model_dump(exclude={"name"}) for step in plan.steps[: plan.setup.steps]],
        "inputs": [plan.setup.inputs, plan.setup.digest],
        "env": {name: value for name, value in plan.env.items() if not _chooses_tests(name, value)},
        "directory": plan.directory,
        "network": plan.network,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:KEY_LENGTH]


def _chooses_tests(name: str, value: str) -> bool:
    return name in _CHOOSE_TESTS and _CHOOSE_TESTS[name].fullmatch(value) is not None
