"""Answers that take long are given outside of the layers that every request passes, so that they cost only themselves.

A waiting request holds the frames of all functions it is in. There are a dozen between the server and a route, and none
of them has anything more to do once a stream has begun.
"""

from typing import Protocol

from starlette.types import Scope, Send

_ANSWER = "ci_server.long_answer"


class OpenStream(Protocol):
    """The place of a long answer, for as long as it is given."""

    @property
    def abandoned(self) -> bool:
        """Whether whoever gives the answer has cancelled the request, to end it."""

    def leave(self) -> None:
        """Give no more of it. To be called once, in the end."""


class LongAnswer(Protocol):
    """An answer that is given when everything else that its request needed has been left."""

    job_id: str
    status_code: int

    async def begin(self, send: Send) -> OpenStream:
        """Begin the answer, and have it given by others, with `send`, until it is left."""


def hand_over(scope: Scope, answer: LongAnswer) -> None:
    """Have `answer` given, in place of one that the route would give itself."""
    scope[_ANSWER] = answer


def handed_over(scope: Scope) -> LongAnswer | None:
    """Return the answer that has been handed over, or None where there is none."""
    answer: LongAnswer | None = scope.get(_ANSWER)
    return answer
