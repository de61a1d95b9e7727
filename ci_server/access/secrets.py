"""Which secrets a new job is given, and whether its sender may have them; and that it brings none in clear.

What a job is given is decided here, once. Values are read only when the job starts.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from ci_common.access.identity import Identity, Scope
from ci_common.errors import FieldError, SecretInPayload, SecretMissing
from ci_common.jobs import NewJob
from ci_common.parsing.large import is_large
from ci_common.parsing.text import shown
from ci_common.secrets.tokens import token_in
from ci_common.settings import Settings
from ci_persistence.stores.access.secrets import SecretStore
from ci_server.http.refusals import ScopeMissing

SECRET_ERRORS: Final = (SecretMissing, SecretInPayload)
"""With what `with_secrets` refuses a job, besides a missing scope."""


async def with_secrets(job: NewJob, sender: Identity, store: SecretStore, settings: Settings) -> NewJob:
    """Return a new job with the secrets in its plan that it is given: those of its project, else those of no project.

    A job that is not trusted, or whose sender is not, is given none.

    Raises ScopeMissing, SecretMissing, Unavailable, and SecretInPayload for a job with a token in clear.
    """
    if settings.payload_secrets == "refuse":
        await asyncio.to_thread(check_payload, job) if is_large(job.plan) else check_payload(job)
    plan = job.plan or {}
    if plan and (plan.get("untrusted") or not sender.is_trusted):
        return replace(job, plan={**plan, "untrusted": True, "secrets": []})
    wanted = plan.get("secrets") or ()
    if not wanted:
        return job
    names = ", ".join(each["name"] for each in wanted)
    if Scope.SECRETS_USE not in sender.scopes_in(job.project):
        raise ScopeMissing(
            f"the job is given secrets ({names}), which needs the scope {Scope.SECRETS_USE}, which {sender.name} lacks"
        )
    given = [{**each, "project": await _project_of(each["name"], job.project, sender, store)} for each in wanted]
    return replace(job, plan={**plan, "secrets": given})


async def _project_of(name: str, project: str | None, sender: Identity, store: SecretStore) -> str | None:
    """Return whose secret of this name a job of `project` is given."""
    places = dict.fromkeys((project, None))
    for place in places:
        if sender.sees(place) and await store.get(place, name) is not None:
            return place
    where = "of no project" if project is None else f"of the project {shown(project)}"
    where += "" if project is None or not sender.sees(None) else ", and none of no project"
    option = "" if project is None else f" --project {project}"
    message = f"there is no secret {name} {where}; set it with: ci secrets set {name}{option}"
    raise SecretMissing(f"the job cannot be given its secrets: {message}", FieldError(f"secrets.{name}", message))


def check_payload(job: NewJob) -> None:
    """Raise SecretInPayload where a text of a job seems to have a token or a key in it."""
    for path, text in _texts(job):
        if (what := token_in(text)) is not None:
            message = (
                f"it seems to have {what} in it, and would be stored and shown in clear; keep it as a secret, and name "
                "that in `secrets`: ci secrets set NAME (CI_PAYLOAD_SECRETS=allow on the server takes it all the same)"
            )
            raise SecretInPayload(f"the job has a secret in clear: {path}: {message}", FieldError(path, message))


def _texts(job: NewJob) -> Iterator[tuple[str, str]]:
    plan: dict[str, Any] = job.plan or {}
    for name, value in job.labels.items():
        yield f"labels.{shown(name)}", f"{name}={value}"
    yield from _variables("env", plan)
    for number, step in enumerate(plan.get("steps") or ()):
        place = f"steps.{number}"
        yield place, "\n".join([step.get("name") or "", step.get("shell") or "", *(step.get("argv") or ())])
        yield from _variables(f"{place}.env", step)
    for name, service in (plan.get("services") or {}).items():
        yield from _variables(f"services.{name}.env", service)
        command = service.get("command") or ""
        yield f"services.{name}.command", command if isinstance(command, str) else "\n".join(command)


def _variables(path: str, part: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in (part.get("env") or {}).items():
        yield f"{path}.{name}", value
