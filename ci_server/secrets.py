"""The endpoints of secrets. No answer has a value: what is set comes back as a name, times and who set it."""

import asyncio
import re
from typing import Any, Final

from pydantic import Field
from starlette.responses import Response

from ci_common.access.identity import Scope
from ci_common.errors import FieldError, SecretNotFound
from ci_common.parsing.models import invalid
from ci_common.parsing.text import shown
from ci_common.secrets.stored import NAME_PATTERN, StoredSecret, place_of
from ci_common.spec import Name
from ci_common.times import utc_now
from ci_common.wire.access.secrets import SecretRequest, SecretView, secret_on_wire
from ci_server.access.projects import project_for
from ci_server.endpoints import Answer, AnyEndpoint, Call, Endpoint, RateClass, Reach, json_answer, model_body
from ci_server.http.refusals import ProjectRefused, hidden
from ci_server.http.requests import NoQuery, QueryModel
from ci_server.http.responses import Document, list_document

_NOT_STORED: Final = {"Cache-Control": "no-store"}
_NAME: Final = re.compile(NAME_PATTERN)


class SecretQuery(QueryModel):
    """Which of the secrets with one name is meant."""

    project: Name | None = Field(None, description="that of this project; by default that of no project")


async def list_secrets(call: Call[NoQuery, None]) -> Response:
    secrets = [each for each in await call.services.storage.secrets.list() if call.identity.sees(each.project)]
    return await list_document([secret_on_wire(secret) for secret in secrets], _NOT_STORED)


async def set_secret(call: Call[SecretQuery, SecretRequest]) -> Response:
    name, wanted, now = call.request.path_params["name"], call.body, utc_now()
    if not _NAME.fullmatch(name):
        raise invalid(
            "the path",
            FieldError("name", f"{shown(name)} is no name; use letters, digits and _, not starting with a digit"),
        )
    project = project_for(call.identity, call.query.project)
    call.services.concern(project=project)
    sealed = None
    if wanted.value is not None:
        sealed = await asyncio.to_thread(call.services.key_ring.seal, wanted.value, place_of(project, name))
    secret = StoredSecret(
        project=project,
        name=name,
        sealed=sealed,
        reference=wanted.reference,
        is_masked=wanted.masked,
        created_time=now,
        created_by=call.identity.name,
        changed_time=now,
        changed_by=call.identity.name,
    )
    secrets = call.services.storage.secrets
    if not wanted.existing:
        await secrets.put(secret)
    elif not await secrets.replace(secret):
        raise _not_found(name, project)
    stored = await secrets.get(project, name)
    return Document(secret_on_wire(stored or secret), headers=_NOT_STORED)


async def remove_secret(call: Call[SecretQuery, None]) -> Response:
    name, project = call.request.path_params["name"], call.query.project
    if not call.identity.sees(project):
        raise hidden(_not_found(name, project))
    call.services.concern(project=project)
    if not await call.services.storage.secrets.remove(project, name):
        raise _not_found(name, project)
    return Response(status_code=204)


def _not_found(name: str, project: str | None) -> SecretNotFound:
    place = "of no project" if project is None else f"of the project {shown(project)}"
    return SecretNotFound(f"there is no secret {shown(name)} {place}")


_EXAMPLES: Final[dict[str, Any]] = {
    "a value": {"value": "correct-horse-battery-staple"},
    "a value in Vault": {"reference": "vault:secret/website#deploy_token"},
}

ENDPOINTS: Final[tuple[AnyEndpoint, ...]] = (
    Endpoint(
        method="GET",
        path="/secrets",
        handler=list_secrets,
        summary="List the secrets",
        description="the [secrets](secrets.md) of the own projects, without their values",
        answers={200: json_answer(list[SecretView], "The secrets, by project and name.")},
        scope=Scope.SECRETS_READ,
        rate_class=RateClass.READ,
        limits=Reach.VISIBLE,
    ),
    Endpoint(
        method="PUT",
        path="/secrets/{name}",
        handler=set_secret,
        query=SecretQuery,
        body=model_body(SecretRequest, examples=_EXAMPLES),
        summary="Set a secret",
        description=(
            "`value`, or `reference` to one that is kept elsewhere; `?project=` names whose jobs get it. A value that "
            "cannot be masked needs `masked: false`; `existing: true` makes no new secret. The answer has no value"
        ),
        answers={200: json_answer(SecretView, "The secret as it is kept.")},
        errors=(SecretNotFound, ProjectRefused),
        scope=Scope.SECRETS_WRITE,
        rate_class=RateClass.WRITE,
        limits=Reach.NEW,
    ),
    Endpoint(
        method="DELETE",
        path="/secrets/{name}",
        handler=remove_secret,
        query=SecretQuery,
        summary="Remove a secret",
        description="204: no further job gets it; `?project=` as in `PUT`",
        answers={204: Answer("It is removed.")},
        errors=(SecretNotFound,),
        scope=Scope.SECRETS_WRITE,
        rate_class=RateClass.WRITE,
        limits=Reach.ONE,
    ),
)
