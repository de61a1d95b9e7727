"""Settings: environment variables, each with its default, unit and meaning in one place.

To add one: a line here, its use, and `make docs`, which writes the table of docs/settings.md. The parts of the server
and the controller get the whole `Settings`, so that nothing between has to pass a value on.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ci_common.errors import CiError
from ci_common.parsing.hosts import Hosts
from ci_common.parsing.values import ByteSize, Duration, NonNegativeByteSize, StopGrace
from ci_common.retention import Ages, Number, Numbers

MIB, GIB = 1024**2, 1024**3


class SettingsError(CiError):
    """An environment variable has an unusable value. The message names each of them, and what would be right."""


def _setting(env: str, default: Any, meaning: str, unit: str = "", **constraints: Any) -> Any:
    """Declare a setting. `constraints` are those of pydantic's `Field`, such as `ge` and `pattern`."""
    return Field(
        default,
        description=meaning,
        json_schema_extra={"env": env, "unit": unit},
        validate_default=True,
        **constraints,
    )


class Settings(BaseModel):
    """All settings. Build it with `Settings.from_env()`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # The installation
    db_path: Path = _setting("CI_DB_PATH", Path("ci_jobs.db"), "the SQLite database", "path")
    data_dir: Path | None = _setting(
        "CI_DATA_DIR", None, "uploads, run directories and logs; by default beside the database, as NAME.data", "path"
    )
    controller: Literal["auto", "off"] = _setting(
        "CI_CONTROLLER", "auto", "auto: the server runs a controller, too; off: `ci controller` runs separately"
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "CI_LOG_LEVEL", "info", "the least severe messages that server and controller write to standard error"
    )

    # The server
    host: str = _setting("CI_HOST", "127.0.0.1", "the address `ci serve` listens on")
    port: int = _setting("PORT", 8000, "the port `ci serve` listens on; 0: any free one", ge=0, le=65535)
    allowed_hosts: Hosts = _setting(
        "CI_ALLOWED_HOSTS",
        "",
        "names that requests may give as their Host, besides the loopback names and the address listened on: "
        "ci.example.org, *.example.org, or * for every name",
        "names",
    )
    max_connections: int = _setting(
        "CI_MAX_CONNECTIONS",
        10_000,
        "the most connections of a server process at a time; fewer if its limit of open files is low",
        "connections",
        gt=0,
    )
    max_queued: int = _setting("MAX_QUEUED", 1000, "jobs that may wait; more are refused with 429", "jobs", gt=0)
    max_uploads: int = _setting(
        "CI_MAX_UPLOADS",
        32,
        "uploads that a server process receives and unpacks at a time; more are refused with 503",
        "uploads",
        gt=0,
    )
    max_upload_bytes: ByteSize = _setting("CI_MAX_UPLOAD_BYTES", 512 * MIB, "the largest upload accepted", "bytes")
    read_timeout: Duration = _setting(
        "CI_READ_TIMEOUT",
        5.0,
        "the most CPU time for reading an upload's files to find out what to run; 1s to 10m",
        "s",
        ge=1,
        le=600,
    )
    read_memory: ByteSize = _setting(
        "CI_READ_MEMORY",
        512 * MIB,
        "the most memory for reading an upload's files, or for unpacking them; at least 64 MiB",
        "bytes",
        ge=64 * MIB,
    )

    # Server and controller
    max_unpacked_bytes: ByteSize = _setting(
        "CI_MAX_UNPACKED_BYTES", 4 * GIB, "the largest size of an unpacked upload", "bytes"
    )
    max_members: int = _setting("CI_MAX_MEMBERS", 100_000, "the most files and folders in an upload", "members", gt=0)
    max_compression_ratio: float = _setting(
        "CI_MAX_COMPRESSION_RATIO",
        200.0,
        "the most that unpacking may enlarge an upload, if it is over 256 MiB then",
        "times",
        gt=1,
    )
    min_free_bytes: NonNegativeByteSize = _setting(
        "CI_MIN_FREE_BYTES",
        GIB,
        "with less free disk space, submissions are refused with 503; 0: never",
        "bytes",
    )
    min_free_percent: float = _setting(
        "CI_MIN_FREE_PERCENT",
        5.0,
        "the same as a percentage of the disk; the lesser of the two counts",
        "%",
        ge=0,
        le=100,
    )
    default_image: str = _setting("CI_DEFAULT_IMAGE", "python:3.12-slim", "the image of jobs that name none")
    default_timeout: Duration = _setting("CI_DEFAULT_TIMEOUT", 3600.0, "the timeout of jobs that name none", "s")
    default_no_output_timeout: Duration | None = _setting(
        "CI_DEFAULT_NO_OUTPUT_TIMEOUT", None, "the no_output_timeout of jobs that name none; by default none", "s"
    )
    max_log_bytes: ByteSize = _setting(
        "CI_MAX_LOG_BYTES", GIB, "the highest limits.log a job may have, and the one of jobs that name none", "bytes"
    )

    # Jobs
    runtime: Literal["auto", "docker", "process"] = _setting(
        "CI_RUNTIME", "auto", "where jobs run; auto: docker if an engine answers at start, else process"
    )
    docker_url: str | None = _setting(
        "DOCKER_HOST",
        None,
        "the engine's address, as in unix:///var/run/docker.sock; by default Docker's usual socket",
    )
    container_prefix: str = _setting(
        "CI_CONTAINER_PREFIX",
        "",
        "the beginning of the names of containers",
        pattern=r"^([a-zA-Z0-9][a-zA-Z0-9_.-]{0,63})?$",
    )
    max_concurrency: int = _setting("MAX_CONCURRENCY", 4, "jobs that run at a time", "jobs", gt=0)
    stop_grace: StopGrace = _setting(
        "CI_STOP_GRACE", 10.0, "the time between SIGTERM and SIGKILL for jobs that name none; at most 1h", "s"
    )
    unenforced_limits: Literal["refuse", "ignore"] = _setting(
        "CI_UNENFORCED_LIMITS",
        "refuse",
        "what to do with jobs whose limits the runtime cannot enforce; refuse: end them as errored; ignore: run them",
    )
    ca_bundle: str = _setting(
        "CI_CA_BUNDLE",
        "auto",
        "certificates that jobs trust: a file; auto: the one SSL_CERT_FILE, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE or "
        "PIP_CERT names here, if any; none: the image's own",
        "path",
    )
    pass_env: str = _setting(
        "CI_PASS_ENV",
        "HTTP_PROXY,HTTPS_PROXY,NO_PROXY,http_proxy,https_proxy,no_proxy",
        "the controller's environment variables that every job gets",
        "names",
    )

    # The controller
    reconcile_interval: Duration = _setting(
        "CI_RECONCILE_INTERVAL", 2.0, "the longest time between two checks of a job; changes are handled at once", "s"
    )
    lease_seconds: Duration = _setting(
        "CI_LEASE_SECONDS",
        15.0,
        "how long the lease outlives a controller whose death cannot be observed (other host or pid namespace)",
        "s",
    )
    pool_size: int = _setting(
        "CI_POOL_SIZE",
        8,
        "the most warm containers, which let jobs start at once; 0: none",
        "containers",
        ge=0,
        le=10_000,
    )
    pool_per_key: int = _setting(
        "CI_POOL_PER_KEY",
        4,
        "the most warm containers of one profile: the same image, limits, network and other fixed properties",
        "containers",
        gt=0,
        le=10_000,
    )
    pool_memory: NonNegativeByteSize = _setting(
        "CI_POOL_MEMORY", 512 * MIB, "the most memory for warm containers, each counted as 8 MiB", "bytes"
    )
    pool_min_free_memory: float = _setting(
        "CI_POOL_MIN_FREE_MEMORY",
        10.0,
        "with less of the machine's memory available, there are no warm containers",
        "%",
        ge=0,
        le=100,
    )
    pool_forget: Duration = _setting(
        "CI_POOL_FORGET", 3600.0, "how long after the last job of a profile its warm containers stay", "s"
    )

    # Retention
    retention: Ages = _setting(
        "CI_RETENTION", "30d", "how long completed jobs are kept, with their logs and uploads; forever is possible"
    )
    retention_failed: Ages = _setting(
        "CI_RETENTION_FAILED", "90d", "the same for jobs that failed, timed out or errored, if it is longer"
    )
    upload_retention: Ages = _setting(
        "CI_UPLOAD_RETENTION", "forever", "how long the upload of a completed job is kept, for `ci retry`"
    )
    max_jobs: Number = _setting(
        "MAX_JOBS", "100000", "how many completed jobs are kept, the newest ones; unlimited is possible", "jobs"
    )
    max_jobs_per_project: Numbers = _setting(
        "CI_MAX_JOBS_PER_PROJECT", "unlimited", "the same for each project", "jobs"
    )

    # The client, which reads it in `ci_client.transport`, without loading this module.
    server_url: str | None = _setting(
        "CI_SERVER_URL", None, "the server that the command line and the library use", "URL"
    )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> "Settings":
        """Read the settings from `environ`, by default this process's environment.

        `overrides` win over it. A variable that is empty counts as unset. Raises SettingsError.
        """
        environ = os.environ if environ is None else environ
        given = {name: environ[env] for name, env in cls.env_names().items() if environ.get(env, "") != ""} | overrides
        try:
            return cls(**given)
        except ValidationError as exc:
            names = cls.env_names()
            problems = "; ".join(
                f"{names.get(str(e['loc'][0]), e['loc'][0])}={given.get(str(e['loc'][0]))!r}: "
                + e["msg"].removeprefix("Value error, ")
                for e in exc.errors()
            )
            raise SettingsError(problems) from exc

    @classmethod
    def env_names(cls) -> dict[str, str]:
        """Return the environment variables by field name."""
        return {name: str(cls.describe(name)["env"]) for name in cls.model_fields}

    @classmethod
    def describe(cls, name: str) -> dict[str, Any]:
        """Return `env`, `unit`, `default` and `meaning` of one field."""
        info = cls.model_fields[name]
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        return {
            "env": extra["env"],
            "unit": extra["unit"],
            "default": info.default,
            "meaning": info.description,
        }

    @property
    def data_path(self) -> Path:
        """The data directory, absolute."""
        beside = self.db_path.with_name(self.db_path.stem + ".data")
        return (self.data_dir or beside).absolute()
