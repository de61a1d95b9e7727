"""Where the contents of artifacts are kept: one protocol, the data directory and stores that speak S3."""

from ci_common.artifacts.opening import open_store
from ci_common.artifacts.store import ArtifactStore, Content, Kept, Source

__all__ = ["ArtifactStore", "Content", "Kept", "Source", "open_store"]
