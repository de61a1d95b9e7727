"""Writes the metrics as whoever asks wants them: JSON unless `Accept` asks for one of the text formats."""

from collections.abc import Callable, Iterable

from starlette.requests import Request
from starlette.responses import Response

from ci_server.http.responses import Document, accepted_types
from ci_server.metrics.exposition import OPEN_METRICS, PROMETHEUS, open_metrics_text, prometheus_text
from ci_server.metrics.model import Metric
from ci_server.metrics.sources import measured
from ci_server.services import Services

_HEADERS = {"Cache-Control": "no-store", "Vary": "Accept"}
_TEXTS: dict[str, Callable[[Iterable[Metric]], str]] = {
    OPEN_METRICS: open_metrics_text,
    PROMETHEUS: prometheus_text,
}
_TYPES = {"application/openmetrics-text": ("1.0.0", OPEN_METRICS), "text/plain": ("0.0.4", PROMETHEUS)}
"""The text formats by their types without parameters: version, and the whole type."""
_JSON = ("application/json", "application/*", "*/*")


async def metrics_answer(services: Services, request: Request) -> Response:
    """Return the metrics. Raises Unavailable."""
    metrics = await measured(services)
    media_type = chosen_type(request.headers.getlist("accept"))
    if media_type is None:
        return Document({name: value for m in metrics for name, value in m.shown.items()}, headers=_HEADERS)
    return Response(_TEXTS[media_type](metrics), headers={**_HEADERS, "Content-Type": media_type})


def chosen_type(accept: Iterable[str]) -> str | None:
    """Return the text format that these `Accept` headers like best, None where that is JSON or nothing there is."""
    for kind, version in accepted_types(accept):
        if kind in _JSON:
            return None
        if kind == "text/*":
            return PROMETHEUS
        if kind in _TYPES and version in ("", _TYPES[kind][0]):
            return _TYPES[kind][1]
    return None
