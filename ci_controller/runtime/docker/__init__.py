"""Jobs in containers of a Docker engine.

`runtime` keeps the protocol; `engine` is the one way to the engine, and where its errors become ours; `containers` is
what we ask for and read as plain data; `creation` makes the containers of jobs; the others each know one subject.
"""

from ci_controller.runtime.docker.runtime import DockerRuntime

__all__ = ["DockerRuntime"]
