"""PostgreSQL as the product's database. Only this package imports psycopg, which is an extra of the distribution."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from ci_common.configuration.database_address import DatabaseAddress
from ci_common.errors import Unavailable
from ci_persistence.database import Database

if TYPE_CHECKING:
    from ci_persistence.postgresql.dumps import Dumps
    from ci_persistence.postgresql.inspection import Inspection
    from ci_persistence.postgresql.moving import PostgreSQLEnd


def postgresql_database(address: DatabaseAddress) -> Database:
    """Return the database at `address`, which has a URL; see PostgreSQLDatabase. Raises Unavailable without psycopg."""
    with driver():
        from ci_persistence.postgresql.database import PostgreSQLDatabase

        listen = address.listen_url.text if address.listen_url is not None else None
        return PostgreSQLDatabase(_text(address), listen_url=listen)


def dumps_of(address: DatabaseAddress) -> "Dumps":
    """Return what takes and restores dumps of the database at `address`. Raises Unavailable without psycopg."""
    with driver():
        from ci_persistence.postgresql.dumps import Dumps

        return Dumps(_direct(address))


def inspection_of(address: DatabaseAddress) -> "Inspection":
    """Return what inspects the database at `address`. Raises Unavailable without psycopg."""
    with driver():
        from ci_persistence.postgresql.inspection import Inspection

        return Inspection(_text(address), address.listen_url.text if address.listen_url is not None else None)


def locked_end(address: DatabaseAddress, tables: Sequence[str]) -> AbstractContextManager["PostgreSQLEnd"]:
    """Open the database at `address` for a move from it. Raises Unavailable, also without psycopg."""
    with driver():
        from ci_persistence.postgresql.moving import PostgreSQLEnd

        return PostgreSQLEnd.opened(_direct(address), tables)


def end_to_fill(address: DatabaseAddress) -> AbstractContextManager["PostgreSQLEnd"]:
    """Open the database at `address` for a move to it. Raises Unavailable, also without psycopg."""
    return locked_end(address, ())


def driver_versions() -> str:
    """Return the versions of the driver and of its library. Raises Unavailable without psycopg."""
    with driver():
        from ci_persistence.postgresql.inspection import versions

        return versions()


@contextmanager
def driver() -> Iterator[None]:
    """Turn what is raised without psycopg, and for a URL that cannot be read, into Unavailable."""
    try:
        yield
    except ImportError as exc:
        raise Unavailable(
            f"PostgreSQL needs the package psycopg, which cannot be used ({exc}); pip install 'ci-server[postgresql]'"
        ) from exc
    except ValueError as exc:
        raise Unavailable(str(exc)) from exc


def _direct(address: DatabaseAddress) -> str:
    """Return the URL without a pooler, which in transaction mode would take away what belongs to a session."""
    return address.listen_url.text if address.listen_url is not None else _text(address)


def _text(address: DatabaseAddress) -> str:
    assert address.url is not None, "it is a server's database"
    return address.url.text
