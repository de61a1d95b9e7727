"""Answers that take long are given outside of the layers that every request passes, so that they cost only themselves.

A waiting request holds the frames of all functions it is in. There are a dozen between the server and a route, and none
of them has anything more to do once a stream has begun.
"""

from collections.abc import Awaitable
from typing import Protocol

from starlette.types import Receive, Scope, Send

_ANSWER = "ci_server.long_answer"


class LongAnswer(Protocol):
    """An answer that is given when everything else that its request needed has been left."""

    job_id: str
    status_code: int

    def answered(self, receive: Receive, send: Send) -> Awaitable[None]:
        """Return what gives the answer once it is awaited, and holds no more than that takes."""


def hand_over(scope: Scope, answer: LongAnswer) -> None:
    """Have `answer` given, in place of one that the route would give itself."""
    scope[_ANSWER] = answer


def handed_over(scope: Scope) -> LongAnswer | None:
    """Return the answer that has been handed over, or None where there is none."""
    answer: LongAnswer | None = scope.get(_ANSWER)
    return answer
