"""The suite of the `Runtime` protocol, run against every implementation.

Subclass `RuntimeContract` in a test module and give it `image` and `open_runtime` (see `RuntimeBench`). The image needs
/bin/sh and the usual small programs (`env`, `head`, `seq`, `setsid`, `sleep`, `tr`), as busybox and Debian have them.
"""

from tests.contracts.runtime_suite.jobs import Jobs
from tests.contracts.runtime_suite.phases import Phases
from tests.contracts.runtime_suite.restarts import Restarts
from tests.contracts.runtime_suite.signals import OwnSignals
from tests.contracts.runtime_suite.stopping import Stopping


class RuntimeContract(Phases, Stopping, OwnSignals, Restarts, Jobs):
    """What every runtime promises."""
