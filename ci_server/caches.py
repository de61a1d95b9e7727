"""The endpoints of caches."""

from typing import Final

from starlette.responses import Response

from ci_common.access.identity import Scope
from ci_common.errors import CacheNotFound
from ci_common.parsing.text import shown
from ci_common.wire.answers import CacheView
from ci_common.wire.writing import cache_on_wire
from ci_server.endpoints import Answer, AnyEndpoint, Call, Endpoint, RateClass, Reach, json_answer
from ci_server.http.refusals import hidden
from ci_server.http.requests import NoQuery
from ci_server.http.responses import list_document

_MOST: Final = 1000


async def list_caches(call: Call[NoQuery, None]) -> Response:
    caches = await call.services.storage.caches.list(limit=_MOST, projects=call.identity.projects)
    return await list_document([cache_on_wire(cache) for cache in caches], {})


async def remove_cache(call: Call[NoQuery, None]) -> Response:
    identity = call.request.path_params["id"]
    cache = await call.services.storage.caches.get(identity)
    if cache is None or not call.identity.sees(cache.project):
        raise hidden(_not_found(identity), is_there=cache is not None)
    call.services.concern(project=cache.project)
    if not await call.services.storage.caches.drop([identity]):
        raise _not_found(identity)
    return Response(status_code=204)


def _not_found(identity: str) -> CacheNotFound:
    return CacheNotFound(f"there is no cache {shown(identity)}")


ENDPOINTS: Final[tuple[AnyEndpoint, ...]] = (
    Endpoint(
        method="GET",
        path="/caches",
        handler=list_caches,
        summary="List the caches",
        description="the [caches](caches.md) that are kept, the one that was used last first; at most 1000",
        answers={200: json_answer(list[CacheView], "The caches.")},
        scope=Scope.JOBS_READ,
        rate_class=RateClass.READ,
        limits=Reach.VISIBLE,
    ),
    Endpoint(
        method="DELETE",
        path="/caches/{id}",
        handler=remove_cache,
        summary="Remove a cache",
        description="204: no further job gets it, and its archive goes soon",
        answers={204: Answer("It is removed.")},
        errors=(CacheNotFound,),
        scope=Scope.CACHES_WRITE,
        rate_class=RateClass.WRITE,
        limits=Reach.ONE,
    ),
)
