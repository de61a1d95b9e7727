"""The runtime contract on Docker."""

from tests.contracts.docker_bench import DockerBench
from tests.contracts.runtime_suite import RuntimeContract


class TestDockerRuntime(DockerBench, RuntimeContract):
    pass
