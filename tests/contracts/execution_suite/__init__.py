"""The suite of the `Execution` protocol, run against every implementation.

Subclass `ExecutionContract`, or `Lifecycle` for an implementation that runs no scripts, in a test module and give it
what `ExecutionBench` asks for. The tests know nothing but the protocol: no file of a job, and nothing of what runs it.
Scripts need /bin/sh and the usual small programs (`head`, `sleep`), as busybox and Debian have them.
"""

from tests.contracts.execution_suite.lifecycle import Lifecycle
from tests.contracts.execution_suite.scripts import Scripts


class ExecutionContract(Scripts, Lifecycle):
    """What every execution promises that runs scripts."""
