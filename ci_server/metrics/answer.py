"""Writes the metrics in the format that the client asks for: JSON, unless `Accept` prefers one of the text formats."""

from collections.abc import Callable, Iterable

from prometheus_client import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as PROMETHEUS
from prometheus_client.exposition import generate_latest as prometheus_text
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPEN_METRICS
from prometheus_client.openmetrics.exposition import generate_latest as open_metrics_text
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from ci_server.http.responses import Document, accepted_types
from ci_server.metrics.sources import measure
from ci_server.services import Services

_HEADERS = {"Cache-Control": "no-store", "Vary": "Accept"}
_WRITERS: dict[str, Callable[[Collector], bytes]] = {OPEN_METRICS: open_metrics_text, PROMETHEUS: prometheus_text}
_TYPES = {"application/openmetrics-text": ("1.0.0", OPEN_METRICS), "text/plain": ("0.0.4", PROMETHEUS)}
"""The text formats by media type: version, and the whole content type."""
TEXT_TYPES = tuple(_WRITERS)
"""The content types of the text formats."""
_JSON = ("application/json", "application/*", "*/*")


class _Measured(Collector):
    """Metrics that have been measured already, as the exposition takes them."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


async def metrics_answer(services: Services, request: Request) -> Response:
    """Return the metrics. Raises Unavailable."""
    measured = await measure(services)
    content_type = chosen_type(request.headers.getlist("accept"))
    if content_type is None:
        return Document({name: value for m in measured for name, value in m.members.items()}, headers=_HEADERS)
    text = _WRITERS[content_type](_Measured(m.metric for m in measured))
    return Response(text, headers={**_HEADERS, "Content-Type": content_type})


def chosen_type(accept: Iterable[str]) -> str | None:
    """Return the text format that these `Accept` headers prefer; None for JSON, also where they accept nothing of ours.

    The library's own choice knows neither JSON nor `q`.
    """
    for media_type, version in accepted_types(accept):
        if media_type in _JSON:
            return None
        if media_type == "text/*":
            return PROMETHEUS
        if media_type in _TYPES and version in ("", _TYPES[media_type][0]):
            return _TYPES[media_type][1]
    return None
