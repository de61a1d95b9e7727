"""The endpoints of prepared environments."""

from typing import Final

from starlette.responses import Response

from ci_common.access.identity import Scope
from ci_common.environments import Environment
from ci_common.errors import EnvironmentNotFound
from ci_common.parsing.text import shown
from ci_common.wire.answers import EnvironmentView
from ci_common.wire.writing import environment_on_wire
from ci_server.endpoints import Answer, AnyEndpoint, Call, Endpoint, RateClass, Reach, json_answer
from ci_server.http.refusals import hidden
from ci_server.http.requests import NoQuery
from ci_server.http.responses import Document, list_document

_MOST: Final = 1000


async def list_environments(call: Call[NoQuery, None]) -> Response:
    environments = await call.services.storage.environments.list(limit=_MOST, projects=call.identity.projects)
    return await list_document([environment_on_wire(environment) for environment in environments], {})


async def get_environment(call: Call[NoQuery, None]) -> Response:
    return Document(environment_on_wire(await _found(call)))


async def remove_environment(call: Call[NoQuery, None]) -> Response:
    environment = await _found(call)
    await call.services.storage.environments.remove([environment.key])
    return Response(status_code=204)


async def _found(call: Call[NoQuery, None]) -> Environment:
    key = call.request.path_params["key"]
    environment = await call.services.storage.environments.get(key)
    if environment is None or not call.identity.sees(environment.project):
        raise hidden(EnvironmentNotFound(f"there is no environment {shown(key)}"), is_there=environment is not None)
    call.services.concern(project=environment.project)
    return environment


ENDPOINTS: Final[tuple[AnyEndpoint, ...]] = (
    Endpoint(
        method="GET",
        path="/environments",
        handler=list_environments,
        summary="List the prepared environments",
        description="the [prepared environments](environments.md), the one that was used last first; at most 1000",
        answers={200: json_answer(list[EnvironmentView], "The environments.")},
        scope=Scope.JOBS_READ,
        rate_class=RateClass.READ,
        limits=Reach.VISIBLE,
    ),
    Endpoint(
        method="GET",
        path="/environments/{key}",
        handler=get_environment,
        summary="Get a prepared environment",
        description="one of them",
        answers={200: json_answer(EnvironmentView, "The environment.")},
        errors=(EnvironmentNotFound,),
        scope=Scope.JOBS_READ,
        rate_class=RateClass.READ,
        limits=Reach.ONE,
    ),
    Endpoint(
        method="DELETE",
        path="/environments/{key}",
        handler=remove_environment,
        summary="Remove a prepared environment",
        description="204: no further job starts from it, and its files go once no container has them any more",
        answers={204: Answer("It is removed.")},
        errors=(EnvironmentNotFound,),
        scope=Scope.CACHES_WRITE,
        rate_class=RateClass.WRITE,
        limits=Reach.ONE,
    ),
)
