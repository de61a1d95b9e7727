"""TLS by files, which are read again when they change, without a connection that breaks off."""

import asyncio
import logging
import os
import ssl
from pathlib import Path

from ci_common.errors import SettingsError

LOOK_SECONDS = 5.0
"""How often the files are looked at. A renewal may replace links on the way to them, which inotify does not show."""

logger = logging.getLogger("ci_server.connections")


class Certificate:
    """A certificate with its key, and the context that new connections use."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises SettingsError if the files cannot be used."""
        self._files = certificate, key
        self._seen = self._stamps()
        try:
            self.context = self._made()
        except (OSError, ValueError) as exc:
            raise SettingsError(f"CI_TLS_CERT={certificate}, CI_TLS_KEY={key}: {_why(exc)}") from exc

    async def watch(self) -> None:
        """Use new files as soon as they fit together, until it is cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Read the files again if they have changed. What cannot be used leaves the present certificate in use."""
        stamps = self._stamps()
        if stamps == self._seen:
            return
        self._seen = stamps
        try:
            self._made()  # A context that has refused a key would be without one.
            self.context.load_cert_chain(*self._files)
        except (OSError, ValueError) as exc:
            logger.warning("the new certificate in %s is not used: %s", self._files[0], _why(exc))
        else:
            logger.info("the certificate in %s was read again", self._files[0])

    def _made(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(*self._files, password=_no_password)
        return context

    def _stamps(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(file) for file in self._files]


def _no_password() -> str:
    """Refuse a key that has a password, which OpenSSL would ask for on the terminal."""
    raise ValueError("the key has a password; store it without one, readable by the server's user alone")


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        state = os.stat(file)
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns, state.st_size


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).replace("_", " ").lower()
        return f"certificate and key do not fit together, or are not in PEM form ({reason})"
    return (isinstance(error, OSError) and error.strerror) or str(error)
