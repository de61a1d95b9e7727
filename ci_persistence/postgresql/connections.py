"""Connections to one PostgreSQL server, and what its errors mean to the product."""

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import errors
from psycopg.adapt import AdaptersMap
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row
from psycopg.types.numeric import FloatLoader, Int8Dumper
from psycopg.types.string import TextLoader

from ci_common.errors import DatabaseUnavailable, Locked, NoRoom

Connection = psycopg.AsyncConnection[dict[str, Any]]

_PARAMETERS = {
    "application_name": "ci-server",
    "client_encoding": "UTF8",
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
    "target_session_attrs": "read-write",
}
"""What is asked of libpq where the URL does not say otherwise. A server that vanishes is noticed within 25 seconds."""
_PREPARE_AFTER = 3
"""How often a statement is run before it is prepared."""
_ENDS = (
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.DatabaseDropped,
    errors.IdleInTransactionSessionTimeout,
    errors.IdleSessionTimeout,
)
"""Errors with which the server ends a connection; and all of class 08."""
_OUTDATED = "RevalidateCachedQuery"
"""Where the server finds that the result of a prepared statement would have other types than before."""
_ADMINISTRATORS = (errors.InsufficientPrivilege, errors.UndefinedTable, errors.InvalidSchemaName)
"""Errors of statements that are right: something is wrong with the database."""


class Disconnected(DatabaseUnavailable):
    """The connection was lost, and with it the transaction."""


class Conflict(Locked):
    """The transaction was in the way of another one (deadlock, serialization). Run it again."""


class Server:
    """The server and the database that a URL names."""

    def __init__(self, url: str, variable: str = "CI_DATABASE_URL") -> None:
        """`variable` is the setting that an error names. Raises ValueError where libpq cannot read the URL."""
        try:
            given = conninfo_to_dict(url)
        except psycopg.ProgrammingError:
            given = {}
        if not _is_plausible(given):
            # Neither libpq's error nor the parts are shown: one of them may be of the password.
            raise ValueError(
                f"{variable} is not the address of a PostgreSQL database; it is written as "
                "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with special characters percent-encoded"
            )
        self.parameters: dict[str, str] = {**_PARAMETERS, **{key: str(value) for key, value in given.items()}}
        """What libpq is told, with the password."""
        self.conninfo = make_conninfo("", **self.parameters)
        """The same as text."""
        self._password = self.parameters.get("password", "")
        place = given.get("host") or given.get("hostaddr") or "the local socket"
        port = f":{given['port']}" if given.get("port") else ""
        self.variable = variable
        self.name = f"{given.get('dbname') or given.get('user') or 'of the user'} at {place}{port}"
        """What errors call the database. It has no password."""

    async def connect(self, *, prepares: bool = False, keeps_notifications: bool = False) -> Connection:
        """Return a new connection in autocommit mode. Raises Unavailable.

        With `prepares`, statements that are run often are prepared, unless a pooler is between: it may give each
        transaction another of the server's sessions. From one, notifications may come that the connection has not asked
        for; they are dropped unless kept.
        """
        try:
            connection: Connection = await psycopg.AsyncConnection.connect(
                self.conninfo,
                autocommit=True,
                prepare_threshold=None,
                row_factory=dict_row,
                cursor_factory=psycopg.AsyncRawCursor,
            )
            if prepares:
                await _prepare_if_direct(connection)
        except (psycopg.Error, OSError) as exc:
            raise DatabaseUnavailable(f"no connection to the database {self.name}: {self._text(exc)}") from exc
        map_types(connection.adapters)
        if not keeps_notifications:
            connection.add_notify_handler(_drop)
        return connection

    def product_error(self, error: psycopg.Error) -> Exception:
        """Return what `error` means to the product; the same error where only a bug of ours can cause it."""
        text = self._text(error)
        match error:
            case errors.IntegrityError() | errors.DataError():
                return ValueError(f"this would break the database's rules: {text}")
            case errors.DiskFull():
                return NoRoom(f"the disk of the database {self.name} is full")
            case errors.SerializationFailure() | errors.DeadlockDetected():
                return Conflict(f"another program writes the same rows of the database {self.name}: {text}")
            case errors.LockNotAvailable():
                return Locked(f"another program keeps the database {self.name} locked")
            case errors.OperationalError() | errors.InternalError() if _ends_connection(error):
                return Disconnected(f"the connection to the database {self.name} was lost: {text}")
            case errors.FeatureNotSupported() if error.diag.source_function == _OUTDATED:
                return Disconnected(f"the tables of the database {self.name} have been changed: {text}")
            case errors.OperationalError() | errors.InternalError():
                return self.unavailable(text)
            case _ if isinstance(error, _ADMINISTRATORS):
                return self.unavailable(text)
            case _:
                return error

    def unavailable(self, reason: str) -> DatabaseUnavailable:
        """Return the error that names the database and `reason`."""
        return DatabaseUnavailable(f"the database {self.name} cannot be used: {reason}")

    def _text(self, error: Exception) -> str:
        return self.hidden(" ".join(str(error).split()) or type(error).__name__)

    def hidden(self, text: str) -> str:
        """Return a text with `***` in place of the password."""
        return text.replace(self._password, "***") if self._password else text


def _is_plausible(parameters: Mapping[str, Any]) -> bool:
    """Return whether a URL was read as it was meant: a password with `/` or `@` makes other parts wrong."""
    port, name = str(parameters.get("port") or ""), str(parameters.get("dbname") or "")
    return bool(parameters) and not port.strip("0123456789,") and "@" not in name


async def _prepare_if_direct(connection: Connection) -> None:
    """Let statements be prepared where the server itself is at the other end: a pooler has process ids of its own."""
    try:
        row = await (await connection.execute(b"SELECT pg_backend_pid() AS pid")).fetchone()
    except BaseException:
        await connection.close()
        raise
    if row is not None and row["pid"] == connection.info.backend_pid:
        connection.prepare_threshold = _PREPARE_AFTER


def is_idle(connection: Connection) -> bool:
    """Return whether the connection is alive and outside of a transaction."""
    return not connection.closed and connection.info.transaction_status == TransactionStatus.IDLE


def is_alive(connection: Connection) -> bool:
    """Return whether the connection waits for a statement, inside of a transaction or outside."""
    return not connection.closed and connection.info.transaction_status in (
        TransactionStatus.IDLE,
        TransactionStatus.INTRANS,
        TransactionStatus.INERROR,
    )


def _ends_connection(error: psycopg.Error) -> bool:
    """Return whether no other statement can follow. Errors that libpq itself raises have no code."""
    return error.sqlstate is None or error.sqlstate.startswith("08") or isinstance(error, _ENDS)


def map_types(adapters: AdaptersMap) -> None:
    """Make values as they are in SQLite: one type of integers, sums that are numbers, JSON as text."""
    adapters.register_dumper(int, Int8Dumper)
    adapters.register_loader("numeric", _NumberLoader)
    adapters.register_loader("json", TextLoader)
    adapters.register_loader("jsonb", TextLoader)


class _NumberLoader(FloatLoader):
    """Loads `numeric`, the type of a sum of bigints, as int where it is one."""

    def load(self, data: Any) -> Any:
        text = bytes(data)
        return int(text) if text.lstrip(b"-").isdigit() else float(text)


def _drop(_: psycopg.Notify) -> None:
    pass
