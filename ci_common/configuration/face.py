"""The settings of what the server shows to a network: TLS, proxies, and pages of other sites."""

from pathlib import Path
from typing import Self

from pydantic import model_validator

from ci_common.configuration.declaration import DeclaredSettings, setting
from ci_common.parsing.peers import NamedOrigins, TrustedPeers


class FaceSettings(DeclaredSettings):
    """Whom the server believes, and which pages may use it."""

    tls_cert: Path | None = setting(
        "CI_TLS_CERT",
        None,
        "a file with the certificate of `ci serve` and those between, with which it serves https; read again when it "
        "changes",
        "path",
    )
    tls_key: Path | None = setting("CI_TLS_KEY", None, "a file with the private key of that certificate", "path")
    trusted_proxies: TrustedPeers = setting(
        "CI_TRUSTED_PROXIES",
        "",
        "the proxies that may say whom a request is from, by Forwarded or X-Forwarded-For, -Proto and -Host: "
        "addresses, networks, and unix for a Unix socket",
        "addresses",
    )
    root_path: str = setting(
        "CI_ROOT_PATH",
        "",
        "the path below which a reverse proxy serves the server, as in /ci, whether the proxy takes it off or not; "
        "links, redirects and the page begin with it",
        "path",
        pattern=r"^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*$",
    )
    cors_origins: NamedOrigins = setting(
        "CI_CORS_ORIGINS",
        "",
        "the origins whose pages may call the API and read the answers, as in https://ui.example.org; by default none",
        "origins",
    )

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("CI_TLS_CERT and CI_TLS_KEY belong together: set both of them, or none")
        return self
