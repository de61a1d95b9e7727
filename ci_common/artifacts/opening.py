"""Which artifact store the settings name."""

from ci_common.artifacts.directory import DirectoryStore
from ci_common.artifacts.store import ArtifactStore
from ci_common.errors import SettingsError
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.system.disk import Disk


def open_store(settings: Settings, data: DataDirectory) -> ArtifactStore:
    """Return the store of CI_ARTIFACTS_URL, by default the data directory. Connects to nothing.

    Raises SettingsError where what a store needs is not installed or not valid.
    """
    if not settings.artifacts_url:
        return DirectoryStore(data.artifacts, Disk.of(settings))
    try:
        from ci_common.artifacts.s3 import S3Store
    except ModuleNotFoundError as exc:
        if exc.name is None or not exc.name.startswith("obstore"):
            raise
        raise SettingsError(
            f"CI_ARTIFACTS_URL={settings.artifacts_url!r}: what speaks S3 is not installed; "
            "install it with: pip install 'ci-server[s3]'"
        ) from exc
    return S3Store(settings.artifacts_url)
