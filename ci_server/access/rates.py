"""How many requests of which kind a sender and a project may send. Each server process counts for itself.

A request is counted before its body is read. A sender is a key, a user who signs in elsewhere, or else an address; on a
server without keys, the requests of this machine are not counted.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from math import ceil
from typing import Final

from starlette.requests import Request

from ci_common.access.identity import ANYONE, LOCAL, Identity
from ci_common.parsing.rates import Rate
from ci_common.settings import Settings
from ci_server.access.buckets import Buckets, Level
from ci_server.http.application import is_loopback
from ci_server.http.refusals import RateLimited

_PREFIX: Final = 64
"""How many bits of an IPv6 address count: one network usually has all addresses that begin alike."""
_UNKNOWN: Final = "unknown"
"""The one sender of all requests whose address a proxy does not tell."""
_SUBMIT: Final = "submit"
_WRITE: Final = "write"


@dataclass(frozen=True, slots=True)
class _Limit:
    """One rate that holds for each of many."""

    name: str
    buckets: Buckets
    policy: str
    """The limit as answers tell it."""


_Limits = dict[str, tuple[_Limit, ...]]
"""The limits that hold for a rate class; those of "" hold for every other one."""
_Counted = list[tuple[_Limit, str]]
"""Limits, and whose bucket of each it is."""


class Rates:
    """The limits of one server process."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` counts seconds, and is never set back."""
        self._clock = clock
        self._of_senders = _limits(settings.rate_requests, settings.rate_submissions, settings.rate_changes, prefix="")
        self._of_projects = _limits(
            settings.rate_project_requests,
            settings.rate_project_submissions,
            settings.rate_project_changes,
            prefix="project-",
        )

    def count(self, request: Request, identity: Identity, rate_class: str) -> Mapping[str, str]:
        """Count a request of a rate class, and return what is left as headers of its answer. Raises RateLimited."""
        sender = _sender(request, identity)
        if sender is None:
            return {}
        counted = [(limit, sender) for limit in _limits_of(self._of_senders, rate_class)]
        if identity.projects is not None and len(identity.projects) == 1:
            (project,) = identity.projects
            counted += [(limit, project) for limit in _limits_of(self._of_projects, rate_class)]
        return self._take(counted)

    def count_project(self, request: Request, identity: Identity, project: str | None, rate_class: str) -> None:
        """Count what a request does in a project that only its body or its job names. Raises RateLimited."""
        projects = (identity.whole or identity).projects
        is_counted = projects is not None and len(projects) == 1
        if project is None or is_counted or _sender(request, identity) is None:
            return
        self._take([(limit, project) for limit in _limits_of(self._of_projects, rate_class)])

    def _take(self, counted: _Counted) -> Mapping[str, str]:
        """Take a token of each bucket, or of none where one is empty."""
        now = self._clock()
        levels = [limit.buckets.level(whose, now) for limit, whose in counted]
        for (limit, _), level in zip(counted, levels, strict=True):
            if not level.left:
                raise _limited(limit, level.wait, _headers(counted, levels, taken=0))
        for limit, whose in counted:
            limit.buckets.take(whose, now)
        return _headers(counted, levels, taken=1)


class FailedKeys:
    """Counts the requests with wrong keys by address, so that they cost the database nothing any more."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        rate = settings.rate_failed_keys
        self._limit = _limit("failed-keys", rate) if rate.is_limit else None

    def check(self, request: Request) -> None:
        """Raise RateLimited where too many requests with wrong keys have come from the request's address."""
        if self._limit is None:
            return
        level = self._limit.buckets.level(address_of(request), self._clock())
        if not level.left:
            raise _limited(self._limit, level.wait, _headers([(self._limit, "")], [level], taken=0))

    def note(self, request: Request) -> None:
        """Count a request with a wrong key."""
        if self._limit is not None:
            self._limit.buckets.take(address_of(request), self._clock())


def _limits(requests: Rate, submissions: Rate, changes: Rate, *, prefix: str) -> _Limits:
    named = {"": ("requests", requests), _SUBMIT: ("submissions", submissions), _WRITE: ("changes", changes)}
    own = {kind: (_limit(prefix + name, rate),) for kind, (name, rate) in named.items() if rate.is_limit}
    of_all = own.pop("", ())
    return {"": of_all} | {kind: of_all + limits for kind, limits in own.items()}


def _limit(name: str, rate: Rate) -> _Limit:
    return _Limit(name, Buckets(rate), f'"{name}";q={rate.amount};w={rate.seconds}')


def _limits_of(limits: _Limits, rate_class: str) -> tuple[_Limit, ...]:
    return limits.get(rate_class, limits[""])


def _limited(limit: _Limit, wait: float, headers: Mapping[str, str]) -> RateLimited:
    seconds, rate = max(1, ceil(wait)), limit.buckets.rate
    unit = {1: "second", 60: "minute", 3600: "hour"}[rate.seconds]
    error = RateLimited(
        f"more than {rate.amount} {limit.name.replace('-', ' ')} in a {unit}: send the request again in {seconds} s"
    )
    error.more_headers = {**headers, "Retry-After": str(seconds)}
    return error


def _headers(counted: _Counted, levels: list[Level], *, taken: int) -> Mapping[str, str]:
    """Return the fields of draft-ietf-httpapi-ratelimit-headers: the limits, and what is left of them."""
    if not counted:
        return {}
    lefts = [
        f'"{limit.name}";r={level.left - taken};t={ceil(level.refilled_in)}'
        for (limit, _), level in zip(counted, levels, strict=True)
    ]
    return {"RateLimit-Policy": ", ".join([limit.policy for limit, _ in counted]), "RateLimit": ", ".join(lefts)}


def _sender(request: Request, identity: Identity) -> str | None:
    """Return whose bucket a request is counted in; None for one of this machine whose sender is not known."""
    if identity.key_id is not None:
        return f"key {identity.key_id}"
    if identity not in (LOCAL, ANYONE):
        return f"user {identity.name}"
    server = request.scope.get("server")
    if request.client is None:
        return None if server is None or server[1] is None else _UNKNOWN  # A Unix socket, or a proxy that says nothing.
    host = request.client.host
    return None if is_loopback(host) else _network(host)


def address_of(request: Request) -> str:
    """Return what counts of the address that a request came from."""
    return _UNKNOWN if request.client is None else _network(request.client.host)


@lru_cache(4096)
def _network(host: str) -> str:
    """Return what counts of an address."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{IPv6Address(int(address) >> (128 - _PREFIX) << (128 - _PREFIX))}/{_PREFIX}"
