"""An image that the engine does not have and can pull."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

from tests.contracts.docker_bench import remove_image
from tests.engine.api import EngineAPI
from tests.engine.images import busybox_layer
from tests.helpers.registry import Registry, layer_with

NOISE = os.urandom(20_000_000)
"""Cannot be compressed, and is in no image the engine has seen before."""
NOISE_LAYER = layer_with("noise", NOISE)


@contextmanager
def served_image(registry: Registry, engine: EngineAPI) -> Iterator[str]:
    """Serve an image with a shell and a large layer; yield its reference. The engine has it no more afterwards."""
    architecture = json.loads(engine.request("GET", "/version"))["Arch"]
    image = registry.add_image("some/image", "v1", [busybox_layer(), NOISE_LAYER], architecture=architecture)
    try:
        yield image
    finally:
        remove_image(engine, image)
