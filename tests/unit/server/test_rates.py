"""How many requests may come, by a clock that the test sets."""

from typing import Any

import pytest
from starlette.requests import Request

from ci_common.access.identity import ANYONE, LOCAL, Identity
from ci_common.parsing.rates import parse_rate
from ci_common.settings import Settings
from ci_server.access.buckets import MOST_BUCKETS, Buckets
from ci_server.access.rates import FailedKeys, Rates
from ci_server.http.refusals import RateLimited

NONE: dict[str, Any] = {
    f"rate_{name}": "none"
    for name in (
        *("requests", "submissions", "changes"),
        *("project_requests", "project_submissions", "project_changes"),
    )
}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def sent_from(host: str | None = "10.0.0.1") -> Request:
    client = None if host is None else (host, 50_000)
    return Request({"type": "http", "method": "GET", "path": "/", "headers": [], "client": client})


def of_key(key_id: str = "k", *projects: str) -> Identity:
    return Identity("alice", ANYONE.scopes, frozenset(projects) or None, key_id)


def rates(clock: Clock, **limits: str) -> Rates:
    return Rates(Settings(**(NONE | {f"rate_{name}": limit for name, limit in limits.items()})), clock)


def taken(limits: Rates, request: Request, identity: Identity, rate_class: str = "read", most: int = 100) -> int:
    """Return how many requests are taken until one is refused."""
    for count in range(most):
        try:
            limits.count(request, identity, rate_class)
        except RateLimited:
            return count
    return most


@pytest.mark.parametrize(("text", "amount", "seconds"), [("10/s", 10, 1), ("600/m", 600, 60), ("5/h", 5, 3600)])
def test_a_rate_is_read(text: str, amount: int, seconds: int) -> None:
    rate = parse_rate(text)
    assert (rate.amount, rate.seconds, rate.is_limit, str(rate)) == (amount, seconds, True, text)
    assert not parse_rate("none").is_limit


@pytest.mark.parametrize("text", ["", "10", "0/s", "-1/m", "10/d", "10 / s", "1.5/s", 10, None])
def test_what_is_no_rate_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="10/s, 600/m or 5000/h, or none"):
        parse_rate(text)


def test_a_bucket_is_taken_at_once_and_refilled_steadily() -> None:
    bucket = Buckets(parse_rate("60/m"))
    for left in reversed(range(60)):
        bucket.take("a", 0.0)
        assert bucket.level("a", 0.0).left == left
    assert bucket.level("a", 0.0).wait == pytest.approx(1.0)
    assert bucket.level("a", 0.4).wait == pytest.approx(0.6)
    assert (bucket.level("a", 1.0).left, bucket.level("a", 1.0).wait) == (1, 0.0)
    assert bucket.level("a", 30.0).left == 30
    assert (bucket.level("a", 60.0).left, bucket.level("a", 10_000.0).left, bucket.level("b", 0.0).left) == (60,) * 3


def test_memory_is_bounded_under_many_addresses() -> None:
    bucket = Buckets(parse_rate("1/h"))
    for number in range(3 * MOST_BUCKETS):
        bucket.take("constant", 3600.0 * number)
        bucket.take(f"address {number}", 3600.0 * number)
    assert len(bucket) == MOST_BUCKETS
    assert bucket.level("constant", 3600.0 * 3 * MOST_BUCKETS - 3600.0).left == 0, "who is seen often is not forgotten"


def test_each_key_has_its_own_limit_and_without_one_each_address() -> None:
    limits = rates(Clock(), requests="3/m")
    assert taken(limits, sent_from(), of_key("a")) == 3
    assert taken(limits, sent_from("10.0.0.2"), of_key("a")) == 0, "a key is one from wherever it comes"
    assert taken(limits, sent_from(), of_key("b")) == 3
    assert taken(limits, sent_from(), ANYONE) == 3
    assert taken(limits, sent_from("::ffff:10.0.0.1"), LOCAL) == 0, "the same address"
    assert taken(limits, sent_from("10.0.0.2"), ANYONE) == 3


def test_the_addresses_of_a_network_of_ipv6_are_one() -> None:
    limits = rates(Clock(), requests="3/m")
    assert taken(limits, sent_from("2001:db8::1"), ANYONE) == 3
    assert taken(limits, sent_from("2001:db8::ffff:2"), ANYONE) == 0
    assert taken(limits, sent_from("2001:db8:0:1::1"), ANYONE) == 3


def test_a_user_who_signs_in_elsewhere_is_one_sender() -> None:
    limits, alice = rates(Clock(), requests="3/m"), Identity("alice", ANYONE.scopes)
    assert taken(limits, sent_from("127.0.0.1"), alice) == 3
    assert taken(limits, sent_from("10.0.0.2"), alice) == 0
    assert taken(limits, sent_from("10.0.0.2"), Identity("bob", ANYONE.scopes)) == 3


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", None])
def test_without_a_key_this_machine_has_no_limit(host: str | None) -> None:
    limits = rates(Clock(), requests="3/m")
    assert taken(limits, sent_from(host), LOCAL) == 100
    assert taken(limits, sent_from(host), of_key()) == 3


def test_what_comes_from_an_address_that_no_one_tells_is_one_sender() -> None:
    limits = rates(Clock(), requests="3/m")
    request = sent_from(None)
    request.scope["server"] = ("10.0.0.9", 8000)
    assert taken(limits, request, ANYONE) == 3
    request.scope["server"] = ("/run/ci.sock", None)
    assert taken(limits, request, ANYONE) == 100


def test_submissions_and_changes_are_counted_apart_and_with_all_others() -> None:
    limits = rates(Clock(), requests="10/m", submissions="3/m", changes="4/m")
    assert taken(limits, sent_from(), of_key(), "submit") == 3
    assert taken(limits, sent_from(), of_key(), "write") == 4
    assert taken(limits, sent_from(), of_key(), "stream") == 3
    assert taken(limits, sent_from(), of_key(), "write") == 0


def test_a_project_has_a_limit_over_all_its_keys() -> None:
    limits = rates(Clock(), project_requests="3/m")
    assert taken(limits, sent_from(), of_key("a", "p")) == 3
    assert taken(limits, sent_from(), of_key("b", "p")) == 0
    assert taken(limits, sent_from(), of_key("b", "q")) == 3
    assert taken(limits, sent_from(), of_key("c", "p", "q")) == 100, "which of them is not known yet"


def test_what_only_the_body_says_of_the_project_is_counted_then() -> None:
    limits = rates(Clock(), project_submissions="2/m")
    for _ in range(2):
        limits.count_project(sent_from(), of_key("a"), "p", "submit")
    with pytest.raises(RateLimited, match="project submissions"):
        limits.count_project(sent_from(), of_key("b"), "p", "submit")
    limits.count_project(sent_from(), of_key("b", "p"), "p", "submit")  # It was counted before.
    for project, identity, request in ((None, of_key(), sent_from()), ("p", LOCAL, sent_from("127.0.0.1"))):
        limits.count_project(request, identity, project, "submit")


def test_a_refusal_says_when_and_takes_nothing() -> None:
    clock = Clock()
    limits = rates(clock, requests="60/m", submissions="2/m")
    headers = [limits.count(sent_from(), of_key(), "submit") for _ in range(2)][1]
    assert headers["RateLimit-Policy"] == '"requests";q=60;w=60, "submissions";q=2;w=60'
    assert headers["RateLimit"] == '"requests";r=58;t=1, "submissions";r=0;t=30'
    with pytest.raises(RateLimited, match="more than 2 submissions in a minute: send the request again in 30 s") as exc:
        limits.count(sent_from(), of_key(), "submit")
    assert exc.value.more_headers["Retry-After"] == "30"
    assert exc.value.more_headers["RateLimit"] == '"requests";r=58;t=2, "submissions";r=0;t=60'
    clock.now += 30
    limits.count(sent_from(), of_key(), "submit")


def test_without_limits_nothing_is_said() -> None:
    assert rates(Clock()).count(sent_from(), of_key(), "submit") == {}


def test_wrong_keys_are_counted_by_address() -> None:
    clock = Clock()
    failed = FailedKeys(Settings(rate_failed_keys="2/m"), clock)
    for _ in range(2):
        failed.check(sent_from())
        failed.note(sent_from())
    failed.check(sent_from("10.0.0.2"))
    with pytest.raises(RateLimited, match="failed keys"):
        failed.check(sent_from())
    clock.now += 31
    failed.check(sent_from())
