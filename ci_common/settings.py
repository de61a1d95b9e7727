"""Settings: environment variables, each with its default, unit and meaning in one place.

To add one: a line here, its use, and `make docs`, which writes the table of docs/settings.md. Those that describe the
installation, confinement, retention and rates are in `ci_common.configuration`. The parts of the server and the
controller get the whole `Settings`, so that nothing between has to pass a value on.
"""

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import SecretStr, model_validator

from ci_common.configuration.confinement import ConfinementSettings
from ci_common.configuration.declaration import setting
from ci_common.configuration.face import FaceSettings
from ci_common.configuration.installation import InstallationSettings
from ci_common.configuration.quotas import QuotaSettings
from ci_common.configuration.rates import RateSettings
from ci_common.configuration.retention import RetentionSettings
from ci_common.parsing.hosts import Hosts
from ci_common.parsing.values import ByteSize, Duration, NonNegativeByteSize, StopGrace
from ci_common.secrets.stored import RING_FILE

MIB, GIB = 1024**2, 1024**3


class Settings(QuotaSettings, RateSettings, RetentionSettings, FaceSettings, ConfinementSettings, InstallationSettings):
    """All settings. Build it with `Settings.from_env()`."""

    secret: ClassVar[frozenset[str]] = InstallationSettings.secret | {"token", "api_key"}

    # The server
    host: str = setting("CI_HOST", "127.0.0.1", "the address `ci serve` listens on")
    port: int = setting("PORT", 8000, "the port `ci serve` listens on; 0: any free one", ge=0, le=65535)
    allowed_hosts: Hosts = setting(
        "CI_ALLOWED_HOSTS",
        "",
        "names that requests may give as their Host, besides the loopback names and the address listened on: "
        "ci.example.org, *.example.org, or * for every name",
        "names",
    )
    auth: Literal["auto", "required", "insecure"] = setting(
        "CI_AUTH",
        "auto",
        "who needs a key; auto: everyone once there is one, and until then only loopback addresses are served; "
        "required: everyone, also until then; insecure: as auto, but also other addresses are served without any key",
    )
    oidc_config: Path | None = setting(
        "CI_OIDC_CONFIG",
        None,
        "a TOML file with the OpenID Connect issuers whose tokens are accepted; with it, every request needs a token "
        "or a key. docs/sign-in.md describes it",
        "path",
    )
    sign_in_lifetime: Duration = setting(
        "CI_SIGN_IN_LIFETIME",
        86_400.0,
        "how long the key is accepted that a person gets by `ci login --oidc`; 5m to 30d",
        "s",
        ge=300,
        le=30 * 86_400,
    )
    projects: Literal["open", "declared"] = setting(
        "CI_PROJECTS",
        "open",
        "which projects jobs may name; open: any; declared: those that were created with `ci projects create`",
    )
    max_connections: int = setting(
        "CI_MAX_CONNECTIONS",
        10_000,
        "the most connections of a server process at a time; fewer if its limit of open files is low",
        "connections",
        gt=0,
    )
    max_queued: int = setting("MAX_QUEUED", 1000, "jobs that may wait; more are refused with 429", "jobs", gt=0)
    max_uploads: int = setting(
        "CI_MAX_UPLOADS",
        32,
        "uploads that a server process receives and unpacks at a time; more are refused with 503",
        "uploads",
        gt=0,
    )
    max_upload_bytes: ByteSize = setting("CI_MAX_UPLOAD_BYTES", 512 * MIB, "the largest upload accepted", "bytes")
    read_timeout: Duration = setting(
        "CI_READ_TIMEOUT",
        5.0,
        "the most CPU time for reading an upload's files to find out what to run; 1s to 10m",
        "s",
        ge=1,
        le=600,
    )
    read_memory: ByteSize = setting(
        "CI_READ_MEMORY",
        512 * MIB,
        "the most memory for reading an upload's files, or for unpacking them; at least 64 MiB",
        "bytes",
        ge=64 * MIB,
    )

    # Server and controller
    spare_workspaces: int = setting(
        "CI_SPARE_WORKSPACES",
        4,
        "how many large projects a server process keeps a workspace ready for, for their next uploads by manifest",
        "workspaces",
        ge=0,
    )
    max_unpacked_bytes: ByteSize = setting(
        "CI_MAX_UNPACKED_BYTES", 4 * GIB, "the largest size of an unpacked upload", "bytes"
    )
    max_members: int = setting("CI_MAX_MEMBERS", 100_000, "the most files and folders in an upload", "members", gt=0)
    max_compression_ratio: float = setting(
        "CI_MAX_COMPRESSION_RATIO",
        200.0,
        "the most that unpacking may enlarge an upload, if it is over 256 MiB then",
        "times",
        gt=1,
    )
    min_free_bytes: NonNegativeByteSize = setting(
        "CI_MIN_FREE_BYTES",
        GIB,
        "with less free disk space, submissions are refused with 503; 0: never",
        "bytes",
    )
    min_free_percent: float = setting(
        "CI_MIN_FREE_PERCENT",
        5.0,
        "the same as a percentage of the disk; the lesser of the two counts",
        "%",
        ge=0,
        le=100,
    )
    default_image: str = setting("CI_DEFAULT_IMAGE", "python:3.12-slim", "the image of jobs that name none")
    default_timeout: Duration = setting("CI_DEFAULT_TIMEOUT", 3600.0, "the timeout of jobs that name none", "s")
    default_no_output_timeout: Duration | None = setting(
        "CI_DEFAULT_NO_OUTPUT_TIMEOUT", None, "the no_output_timeout of jobs that name none; by default none", "s"
    )
    max_log_bytes: ByteSize = setting(
        "CI_MAX_LOG_BYTES", GIB, "the highest limits.log a job may have, and the one of jobs that name none", "bytes"
    )

    # Jobs
    runtime: Literal["auto", "docker", "process"] = setting(
        "CI_RUNTIME", "auto", "where jobs run; auto: docker if an engine answers at start, else process"
    )
    docker_url: str | None = setting(
        "DOCKER_HOST",
        None,
        "the engine's address, as in unix:///var/run/docker.sock; by default Docker's usual socket",
    )
    container_prefix: str = setting(
        "CI_CONTAINER_PREFIX",
        "",
        "the beginning of the names of containers",
        pattern=r"^([a-zA-Z0-9][a-zA-Z0-9_.-]{0,63})?$",
    )
    max_concurrency: int = setting("MAX_CONCURRENCY", 4, "jobs that run at a time", "jobs", gt=0)
    stop_grace: StopGrace = setting(
        "CI_STOP_GRACE", 10.0, "the time between SIGTERM and SIGKILL for jobs that name none; at most 1h", "s"
    )
    unenforced_limits: Literal["refuse", "ignore"] = setting(
        "CI_UNENFORCED_LIMITS",
        "refuse",
        "what to do with jobs whose limits the runtime cannot enforce; refuse: end them as errored; ignore: run them",
    )
    ca_bundle: str = setting(
        "CI_CA_BUNDLE",
        "auto",
        "certificates that jobs trust: a file; auto: the one SSL_CERT_FILE, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE or "
        "PIP_CERT names here, if any; none: the image's own",
        "path",
    )
    pass_env: str = setting(
        "CI_PASS_ENV",
        "HTTP_PROXY,HTTPS_PROXY,NO_PROXY,http_proxy,https_proxy,no_proxy",
        "the controller's environment variables that every job gets",
        "names",
    )

    # The controller
    reconcile_interval: Duration = setting(
        "CI_RECONCILE_INTERVAL", 2.0, "the longest time between two checks of a job; changes are handled at once", "s"
    )
    lease_seconds: Duration = setting(
        "CI_LEASE_SECONDS",
        15.0,
        "how long the lease outlives a controller whose death cannot be observed (other host or pid namespace)",
        "s",
    )
    pool_size: int = setting(
        "CI_POOL_SIZE",
        8,
        "the most warm containers, which let jobs start at once; 0: none",
        "containers",
        ge=0,
        le=10_000,
    )
    pool_per_key: int = setting(
        "CI_POOL_PER_KEY",
        4,
        "the most warm containers of one profile: the same image, limits, network and other fixed properties",
        "containers",
        gt=0,
        le=10_000,
    )
    pool_memory: NonNegativeByteSize = setting(
        "CI_POOL_MEMORY",
        512 * MIB,
        "the most memory for warm containers, each counted as 8 MiB, and for services that wait with them, each "
        "counted as its `limits.memory` or 64 MiB",
        "bytes",
    )
    pool_min_free_memory: float = setting(
        "CI_POOL_MIN_FREE_MEMORY",
        10.0,
        "with less of the machine's memory available, there are no warm containers",
        "%",
        ge=0,
        le=100,
    )
    pool_forget: Duration = setting(
        "CI_POOL_FORGET", 3600.0, "how long after the last job of a profile its warm containers stay", "s"
    )

    # Prepared environments
    prepared_bytes: NonNegativeByteSize = setting(
        "CI_PREPARED_BYTES",
        20 * GIB,
        "the most disk space of prepared environments; those go first that were not used for longest; 0: none are kept",
        "bytes",
    )
    installer: Literal["auto", "uv", "pip"] = setting(
        "CI_INSTALLER",
        "auto",
        "what installs for Python projects that are detected; auto: uv where it gives the same result as pip; uv: also "
        "where a project has options for pip; pip: always pip",
    )
    prepared_max_age: Duration = setting(
        "CI_PREPARED_MAX_AGE",
        86_400.0,
        "the age from which a prepared environment is made again once it has been used, unless its setup is `pinned`",
        "s",
    )

    # Secrets
    secrets_keyring: Path | None = setting(
        "CI_SECRETS_KEYRING",
        None,
        "the file with the keys of the secrets; by default secrets.keys in the data directory",
        "path",
    )

    payload_secrets: Literal["refuse", "allow"] = setting(
        "CI_PAYLOAD_SECRETS",
        "refuse",
        "what to do with jobs whose variables, labels or commands seem to have tokens or private keys in clear",
    )
    secrets_env: str = setting(
        "CI_SECRETS_ENV",
        "",
        "the controller's variables that secrets may refer to (env:NAME), with * for any end: DEPLOY_TOKEN, TEAM_*",
        "names",
    )
    secrets_files: str = setting(
        "CI_SECRETS_FILES",
        "",
        "the directories and files on the controller's machine that secrets may refer to (file:/path), with a comma "
        "between",
        "paths",
    )
    vault_addr: str | None = setting(
        "VAULT_ADDR", None, "the HashiCorp Vault that secrets refer to (vault:MOUNT/PATH#FIELD)", "URL"
    )
    vault_namespace: str | None = setting("VAULT_NAMESPACE", None, "the namespace in it, for Vault Enterprise")
    vault_token_file: Path | None = setting(
        "CI_VAULT_TOKEN_FILE",
        None,
        "the file with the token for it, read at each use; Vault's agent can keep it fresh",
        "path",
    )

    # Caches
    cache_bytes: NonNegativeByteSize = setting(
        "CI_CACHE_BYTES",
        10 * GIB,
        "the most disk space of all caches; those go first that were not used for longest; 0: jobs run without caches",
        "bytes",
    )
    max_cache_bytes: ByteSize = setting(
        "CI_MAX_CACHE_BYTES", 2 * GIB, "the most bytes of one cache; a larger one is not saved", "bytes"
    )

    # Artifacts
    artifacts_url: str = setting(
        "CI_ARTIFACTS_URL",
        "",
        "where the contents of artifacts are kept: s3://BUCKET or s3://BUCKET/PREFIX; by default the data directory",
        "URL",
        pattern=r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._/-]*)?)?$",
    )
    artifacts_links: Literal["signed", "none"] = setting(
        "CI_ARTIFACTS_LINKS",
        "signed",
        "how artifacts in S3 are downloaded; signed: by a redirect to the store; none: through the server",
    )
    artifacts_max_files: int = setting(
        "CI_ARTIFACTS_MAX_FILES", 10_000, "the most artifacts of a job", "files", gt=0, le=100_000
    )
    artifacts_max_bytes: ByteSize = setting(
        "CI_ARTIFACTS_MAX_BYTES", 10 * GIB, "the most bytes of a job's artifacts together", "bytes"
    )
    artifacts_timeout: Duration = setting(
        "CI_ARTIFACTS_TIMEOUT",
        1800.0,
        "how long the end of a job may wait for its artifacts; what is not kept by then is left out",
        "s",
    )

    log_store: Literal["data", "artifacts"] = setting(
        "CI_LOG_STORE",
        "data",
        "where the logs of attempts that have ended are kept; artifacts: where CI_ARTIFACTS_URL says",
    )

    # The client, which reads it in `ci_client.transport`, without loading this module.
    server_url: str | None = setting(
        "CI_SERVER_URL", None, "the server that the command line and the library use", "URL"
    )
    token: SecretStr | None = setting(
        "CI_TOKEN", None, "the key that the command line and the library send; by default the one of `ci login`"
    )
    api_key: SecretStr | None = setting("CI_API_KEY", None, "the same as CI_TOKEN, which wins")

    @model_validator(mode="after")
    def _check_stores(self) -> Self:
        if self.log_store == "artifacts" and not self.artifacts_url:
            raise ValueError(
                "CI_LOG_STORE=artifacts keeps logs where CI_ARTIFACTS_URL says, and it is not set: "
                "set it to s3://BUCKET or s3://BUCKET/PREFIX, or leave logs here with CI_LOG_STORE=data"
            )
        return self

    @property
    def keyring_path(self) -> Path:
        """The file with the keys of the secrets, absolute."""
        return (self.secrets_keyring or self.data_path / RING_FILE).absolute()
