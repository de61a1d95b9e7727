"""Concurrency groups: jobs of which one runs at a time."""

from typing import Annotated

from pydantic import Field

from ci_common.parsing.models import StrictModel
from ci_common.parsing.values import Line

GroupName = Annotated[Line, Field(min_length=1, max_length=200)]


class Concurrency(StrictModel):
    """The concurrency group of a job."""

    group: GroupName = Field(
        description="one job at a time runs of all with this name in the project; without a project, of the same owner"
    )
    cancel_running: bool = Field(
        False, description="true: the group's job that runs is cancelled, and those that wait are replaced by this one"
    )
