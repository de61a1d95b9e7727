"""The state of the pool of warm containers, as the controller publishes it."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from ci_common.spec import Limits


class PoolKind(BaseModel):
    """The waiting containers that one kind of job can take: all that is fixed at a container's creation is the same."""

    model_config = ConfigDict(frozen=True)
    kind: str
    """A name for all of that: 16 hexadecimal digits."""
    image: str | None
    """None, as the next two, for what an earlier controller left waiting and no job has asked for since."""
    network: bool | None
    limits: Limits | None
    waiting: int
    """Containers at their gates."""
    starting: int
    """Containers on their way there."""
    wanted: int
    """How many are to wait, as far as the settings and the machine allow."""
    last_used: datetime | None
    """When a job of this kind last started."""


class PoolState(BaseModel):
    """The pool as a whole."""

    model_config = ConfigDict(frozen=True)
    size: int
    """The most containers that may wait, by CI_POOL_SIZE and CI_POOL_MEMORY."""
    per_key: int
    """The most of one kind."""
    waiting: int
    held_back: str | None
    """Why no further container is made to wait at present, or None."""
    kinds: tuple[PoolKind, ...] = ()


NO_POOL = PoolState(size=0, per_key=0, waiting=0, held_back="no controller leads")
