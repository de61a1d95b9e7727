"""Settings: environment variables, each with its default, its unit and its meaning in one place."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ci_common.errors import CiError
from ci_common.parsing.hosts import Hosts
from ci_common.parsing.values import ByteSize, Duration, NonNegativeByteSize, StopGrace
from ci_common.retention import Ages, Number, Numbers

ProcessorSeconds = Annotated[Duration, Field(ge=1, le=600)]
"""Seconds as the system can limit them."""
ReadMemory = Annotated[ByteSize, Field(ge=64 * 1024**2)]
"""Bytes, and enough for the list of an archive's members."""


class SettingsError(CiError):
    """An environment variable has a value that is not usable. The message names each, and what would be right."""


def _setting(env: str, default: Any, meaning: str, unit: str = "") -> Any:
    return Field(default, description=meaning, json_schema_extra={"env": env, "unit": unit}, validate_default=True)


class Settings(BaseModel):
    """All settings. Build it with `Settings.from_env()`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    db_path: Path = _setting("CI_DB_PATH", Path("ci_jobs.db"), "the SQLite database", "path")
    data_dir: Path | None = _setting(
        "CI_DATA_DIR",
        None,
        "uploads, run directories and logs; by default beside the database, as NAME.data",
        "path",
    )
    container_prefix: str = Field(
        "",
        description="put before the names of containers",
        pattern=r"^([a-zA-Z0-9][a-zA-Z0-9_.-]{0,63})?$",
        json_schema_extra={"env": "CI_CONTAINER_PREFIX", "unit": ""},
    )
    runtime: Literal["auto", "docker", "process"] = _setting(
        "CI_RUNTIME", "auto", "where jobs run; auto: docker where an engine answers at start, else process"
    )
    default_image: str = _setting("CI_DEFAULT_IMAGE", "python:3.12-slim", "the image of jobs that name none")
    controller: Literal["auto", "off"] = _setting(
        "CI_CONTROLLER",
        "auto",
        "auto: the API process carries a controller with it; off: `ci controller` runs apart",
    )
    reconcile_interval: Duration = _setting(
        "CI_RECONCILE_INTERVAL",
        2.0,
        "the longest time between two looks at a job; changes are acted on at once",
        "s",
    )
    lease_seconds: Duration = _setting(
        "CI_LEASE_SECONDS", 15.0, "how long a controller that cannot be seen to be dead still leads", "s"
    )
    pool_size: int = Field(
        8, ge=0, le=10_000, description="the most containers that wait for jobs, so that these start at once; 0: none",
        json_schema_extra={"env": "CI_POOL_SIZE", "unit": "containers"},
    )  # fmt: skip
    pool_per_key: int = Field(
        4, gt=0, le=10_000,
        description="the most of them that are alike: in image, limits, network and whatever else is fixed",
        json_schema_extra={"env": "CI_POOL_PER_KEY", "unit": "containers"},
    )  # fmt: skip
    pool_memory: NonNegativeByteSize = _setting(
        "CI_POOL_MEMORY", 512 * 1024**2, "the most memory for waiting containers, each counted as 8 MiB", "bytes"
    )
    pool_min_free_memory: float = Field(
        10.0, ge=0, le=100, description="with less of the machine's memory available, no containers wait",
        json_schema_extra={"env": "CI_POOL_MIN_FREE_MEMORY", "unit": "%"},
    )  # fmt: skip
    pool_forget: Duration = _setting(
        "CI_POOL_FORGET", 3600.0, "how long after the last job that could take them containers still wait", "s"
    )
    host: str = _setting("CI_HOST", "127.0.0.1", "the address `ci serve` listens on")
    port: int = Field(
        8000, ge=0, le=65535, description="the port `ci serve` listens on; 0: any free one",
        json_schema_extra={"env": "PORT", "unit": ""},
    )  # fmt: skip
    allowed_hosts: Hosts = _setting(
        "CI_ALLOWED_HOSTS", "",
        "names that requests may give as their Host, besides the loopback names and the address listened on: "
        "ci.example.org, *.example.org, or * for every name", "names",
    )  # fmt: skip
    max_connections: int = Field(
        10_000, gt=0,
        description="connections that a server process has at once; fewer where its limit of open files is low",
        json_schema_extra={"env": "CI_MAX_CONNECTIONS", "unit": "connections"},
    )  # fmt: skip
    max_concurrency: int = Field(
        4,
        gt=0,
        description="jobs that run at once",
        json_schema_extra={"env": "MAX_CONCURRENCY", "unit": "jobs"},
    )
    max_queued: int = Field(
        1000, gt=0, description="jobs that may wait; more are refused with 429",
        json_schema_extra={"env": "MAX_QUEUED", "unit": "jobs"},
    )  # fmt: skip
    max_uploads: int = Field(
        32, gt=0, description="uploads that a server process receives and unpacks at once; more are refused with 503",
        json_schema_extra={"env": "CI_MAX_UPLOADS", "unit": "uploads"},
    )  # fmt: skip
    min_free_bytes: NonNegativeByteSize = _setting(
        "CI_MIN_FREE_BYTES",
        1024**3,
        "with less room on the disk submissions are refused with 503; 0: whatever the room",
        "bytes",
    )
    min_free_percent: float = Field(
        5.0, ge=0, le=100, description="the same as a part of the disk; the lesser of the two counts",
        json_schema_extra={"env": "CI_MIN_FREE_PERCENT", "unit": "%"},
    )  # fmt: skip
    max_upload_bytes: ByteSize = _setting("CI_MAX_UPLOAD_BYTES", 512 * 1024**2, "the largest upload taken", "bytes")
    max_unpacked_bytes: ByteSize = _setting(
        "CI_MAX_UNPACKED_BYTES", 4 * 1024**3, "the most an upload may unpack to", "bytes"
    )
    max_members: int = Field(
        100_000, gt=0, description="the most files and folders in an upload",
        json_schema_extra={"env": "CI_MAX_MEMBERS", "unit": "members"},
    )  # fmt: skip
    max_compression_ratio: float = Field(
        200.0, gt=1, description="the most an upload of over 256 MiB unpacked may grow by",
        json_schema_extra={"env": "CI_MAX_COMPRESSION_RATIO", "unit": "times"},
    )  # fmt: skip
    read_timeout: ProcessorSeconds = _setting(
        "CI_READ_TIMEOUT", 5.0, "the longest that the files of one upload may keep a processor busy until it is known "
        "what to run; at most 10m", "s",
    )  # fmt: skip
    read_memory: ReadMemory = _setting(
        "CI_READ_MEMORY", 512 * 1024**2, "the most memory that this may take, or unpacking; at least 64 MiB", "bytes"
    )
    default_timeout: Duration = _setting("CI_DEFAULT_TIMEOUT", 3600.0, "the timeout of jobs that name none", "s")
    default_no_output_timeout: Duration | None = _setting(
        "CI_DEFAULT_NO_OUTPUT_TIMEOUT", None, "the no_output_timeout of jobs that name none; by default none", "s"
    )
    max_log_bytes: ByteSize = _setting(
        "CI_MAX_LOG_BYTES",
        1024**3,
        "the highest limits.log a job may have, and that of jobs that name none",
        "bytes",
    )
    stop_grace: StopGrace = _setting(
        "CI_STOP_GRACE", 10.0,
        "how long a job that is stopped may take between SIGTERM and SIGKILL, where it does not say; at most 1h", "s",
    )  # fmt: skip
    unenforced_limits: Literal["refuse", "ignore"] = _setting(
        "CI_UNENFORCED_LIMITS",
        "refuse",
        "jobs with limits that cannot be enforced where they run: refuse ends them as errored, ignore runs them",
    )
    retention: Ages = _setting(
        "CI_RETENTION", "30d", "how long completed jobs are kept, with their logs and uploads; forever is possible"
    )
    retention_failed: Ages = _setting(
        "CI_RETENTION_FAILED", "90d", "the same for jobs that failed, timed out or errored, where it is longer"
    )
    upload_retention: Ages = _setting(
        "CI_UPLOAD_RETENTION", "forever", "how long a completed job that is kept has its upload, for `ci retry`"
    )
    max_jobs: Number = _setting(
        "MAX_JOBS", "100000", "completed jobs that are kept, the newest ones; unlimited is possible", "jobs"
    )
    max_jobs_per_project: Numbers = _setting(
        "CI_MAX_JOBS_PER_PROJECT", "unlimited", "the same for each project", "jobs"
    )
    ca_bundle: str = _setting(
        "CI_CA_BUNDLE", "auto",
        "certificates that jobs trust: a file; auto: the one SSL_CERT_FILE, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE or "
        "PIP_CERT names here, if any; none: the image's own", "path",
    )  # fmt: skip
    pass_env: str = _setting(
        "CI_PASS_ENV", "HTTP_PROXY,HTTPS_PROXY,NO_PROXY,http_proxy,https_proxy,no_proxy",
        "names of the controller's variables that every job gets", "names",
    )  # fmt: skip
    docker_url: str | None = _setting(
        "DOCKER_HOST",
        None,
        "the engine's address, as in unix:///var/run/docker.sock; by default Docker's usual socket",
    )
    server_url: str | None = _setting("CI_SERVER_URL", None, "the server the command line talks to", "URL")
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "CI_LOG_LEVEL", "info", "how much server and controller say on standard error"
    )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> "Settings":
        """Read the settings from `environ` (default: this process's), `overrides` winning; empty means unset.

        Raises SettingsError.
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
        """Return field name → environment variable."""
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
