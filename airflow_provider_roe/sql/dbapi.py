"""
Roe as a database, by Python's DB-API 2.0 (PEP 249).

A text of SQL is one query at Roe, whose statements that return columns are the cursor's result sets.
Executing waits until it has ended; its result is downloaded when something of it is first asked for, to a
temporary file from which rows are read. Roe has no transactions: each query is in effect once it has ended.
"""

from __future__ import annotations

import json
import logging
import re
import weakref
from contextlib import ExitStack, contextmanager
from datetime import date, datetime, time
from itertools import islice
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_roe.api.base import sentence
from airflow_provider_roe.client.calls import Calls
from airflow_provider_roe.client.client import Client
from airflow_provider_roe.client.connection import WEEK
from airflow_provider_roe.client.retry import Retries
from airflow_provider_roe.client.trouble import Troubles
from airflow_provider_roe.exceptions import (
    RoeError,
    RoeInputError,
    RoeQueryFailedError,
    RoeRequestError,
    RoeResultError,
    RoeTimeoutError,
    RoeUnavailableError,
)
from airflow_provider_roe.sql.literals import bind
from airflow_provider_roe.waiting.blocking import wait_for_query
from airflow_provider_roe.waiting.wait import seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import timedelta
    from typing import Self

    from airflow_provider_roe.results.spool import Batch, SpooledResult, Statement

apilevel: Final = "2.0"
#: Threads may share the module, but not a connection
threadsafety: Final = 1
paramstyle: Final = "pyformat"

#: The most rows, and bytes of JSON, of one INSERT that ``executemany`` makes
MOST_ROWS: Final = 10_000
MOST_BYTES: Final = 1024 * 1024

_log = logging.getLogger(__name__)
#: An INSERT of a row: what comes before its values, and they. What it does not know is no such INSERT.
_INSERT = re.compile(
    r"((?>\s|--[^\n]*\n|/\*[\s\S]*?\*/)*+"
    r"""INSERT\s+INTO\s+(?:TABLE\s+)?(?:[\w.]|`[^`]*`|"[^"]*")+\s*(?:\([^()';]*\)\s*)?"""
    r"(?:SETTINGS\s[\w\s=,.]+?\s)?(?:FORMAT\s+)?VALUES\s*)"
    r"(\((?:[^()';]|\([^()';]*\)|'(?:[^'\\]|\\.)*')*+\))\s*;?\s*",
    re.IGNORECASE,
)
#: What is wrapped around the name of a ClickHouse type
_WRAPPED = re.compile(r"(?:Nullable|LowCardinality)\((.*)\)")
#: Roe's words for a query that ran into no fault of its own
_STOPPED = frozenset({"REVOKED", "REJECTED", "IGNORED", "CANCELLED", "CANCELED"})


# Exceptions


class Warning(Exception):  # noqa: A001 - PEP 249 names it
    """PEP 249 wants it; it is not raised."""


class Error(RoeError):
    """Base class of the errors that a connection and its cursors raise."""


class InterfaceError(Error):
    """A connection or cursor was used after it was closed."""


class DatabaseError(Error):
    """Base class of the errors of what is asked, and of the service that is asked."""


class DataError(DatabaseError):
    """A cell is not what its column's type says, or cannot be told without a guess."""


class OperationalError(DatabaseError):
    """Roe could not be asked, did not answer in time, refused the key, or stopped the query."""


class IntegrityError(DatabaseError):
    """PEP 249 wants it; ClickHouse has no such constraints."""


class InternalError(DatabaseError):
    """What Roe answered is not a result as it documents one."""


class ProgrammingError(DatabaseError):
    """The SQL failed, its parameters cannot be bound, or a result was asked for that is not there."""


class NotSupportedError(DatabaseError):
    """Roe has no such thing."""


@contextmanager
def as_dbapi_errors() -> Iterator[None]:
    """Raise errors of PEP 249 in place of this provider's, from which they are raised."""
    try:
        yield
    except Error:
        raise
    except RoeQueryFailedError as e:
        stopped = e.status is not None and e.status.upper() in _STOPPED
        text = str(e)
        if e.reason:
            reason = sentence(e.reason)
            text = f"{reason} {text.replace(f': {reason}', '.')}"
        raise (OperationalError if stopped else ProgrammingError)(text) from e
    except RoeResultError as e:
        raise DataError(str(e)) from e
    except RoeInputError as e:
        raise ProgrammingError(str(e)) from e
    except RoeRequestError as e:
        refused = e.status_code in (400, 422)
        text = f"{sentence(e.reason)} {e}" if e.reason else str(e)
        raise (ProgrammingError if refused else OperationalError)(text) from e
    except RoeTimeoutError as e:
        raise OperationalError(str(e)) from e
    except RoeError as e:
        raise InternalError(str(e)) from e


# Types


class _Types:
    """Equals the ``type_code`` of the columns whose ClickHouse type is one of some."""

    def __init__(self, *names: str) -> None:
        self.names = frozenset(names)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, str):
            return self is other
        while wrapped := _WRAPPED.fullmatch(other):
            other = wrapped[1]
        return other.partition("(")[0] in self.names

    def __hash__(self) -> int:
        return hash(self.names)


STRING: Final = _Types("String", "FixedString", "UUID", "Enum", "Enum8", "Enum16", "IPv4", "IPv6")
BINARY: Final = _Types()  # ClickHouse keeps bytes as strings
NUMBER: Final = _Types(
    *(f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64, 128, 256)),
    *("Float32", "Float64", "BFloat16", "Bool"),
    *("Decimal", "Decimal32", "Decimal64", "Decimal128", "Decimal256"),
)
DATETIME: Final = _Types("Date", "Date32", "DateTime", "DateTime64", "Time", "Time64")
ROWID: Final = _Types()

Date = date
Time = time
Timestamp = datetime
DateFromTicks = date.fromtimestamp
TimestampFromTicks = datetime.fromtimestamp
Binary = bytes


def TimeFromTicks(ticks: float) -> time:
    """Return the local time of day at a Unix time in seconds."""
    return datetime.fromtimestamp(ticks).time()


# Connections and cursors


def connect(
    roe_conn_id: str = "roe_default",
    *,
    organization_id: str | None = None,
    timeout: float | timedelta = WEEK,
    poll_interval: float | timedelta = 60.0,
) -> Connection:
    """
    Return a connection to Roe. Nothing is asked of Roe before the first query.

    :param roe_conn_id: The Airflow connection of type ``roe``.
    :param organization_id: UUID of the organization to run queries in; by default the connection's.
    :param timeout: Seconds, or a timedelta, after which to give up on a query. Default: 7 days.
    :param poll_interval: Seconds, or a timedelta, between two polls; the first come sooner, from 0.1 s on.
    :raises ProgrammingError: An argument cannot be used.
    """
    with as_dbapi_errors():
        return Connection(
            Client(roe_conn_id, organization_id),
            seconds(timeout, "timeout"),
            seconds(poll_interval, "poll_interval"),
        )


class Connection:
    """
    A connection as PEP 249 has it; :func:`connect` makes one. As a context, it is closed at the end.

    :param client: Makes the calls.
    :param timeout: Seconds after which to give up on a query.
    :param poll_interval: Seconds between two polls.
    """

    Warning = Warning
    Error = Error
    InterfaceError = InterfaceError
    DatabaseError = DatabaseError
    DataError = DataError
    OperationalError = OperationalError
    IntegrityError = IntegrityError
    InternalError = InternalError
    ProgrammingError = ProgrammingError
    NotSupportedError = NotSupportedError

    def __init__(self, client: Client, timeout: float, poll_interval: float) -> None:
        self._client = client
        self._timeout = timeout
        self._poll_interval = poll_interval
        self._closed = False

    def cursor(self) -> Cursor:
        """Return a new cursor."""
        self._check_open()
        return Cursor(self)

    def commit(self) -> None:
        """Leave all as it is: what a query did is in effect already."""
        self._check_open()

    def rollback(self) -> None:
        """Leave all as it is: Roe cannot take back what a query did."""
        self._check_open()

    def close(self) -> None:
        """Close the connection; its cursors cannot be used any more."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise InterfaceError("The connection is closed.")

    def _submit(self, sql: str) -> str:
        with as_dbapi_errors():
            try:
                self._client.connection  # noqa: B018 - looked up apart, for no SQL is to blame for it
            except RoeInputError as e:
                raise OperationalError(str(e)) from e
            query_id = self._client.call(Retries(Troubles(_log)), Calls.submit, sql).query_id
        _log.info("Submitted as query %s", query_id)
        return query_id

    def _wait(self, query_id: str) -> None:
        with as_dbapi_errors():
            wait_for_query(
                self._client,
                query_id,
                log=_log,
                timeout=self._timeout,
                poll_interval=self._poll_interval,
            )

    def _fetch(self, query_id: str) -> _Result:
        from airflow_provider_roe.results import spool

        with as_dbapi_errors(), TemporaryFile(prefix="roe-") as body, ExitStack() as files:
            rows = files.enter_context(TemporaryFile(prefix="roe-"))
            spooled = self._client.call(Retries(Troubles(_log)), spool.fetch, query_id, body, rows)
            if spooled.result.error:
                _log.warning("Roe says of the result of query %s: %s", query_id, spooled.result.error)
            return _Result(spooled, files.pop_all())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Cursor:
    """
    A cursor as PEP 249 has it; :meth:`Connection.cursor` makes one. As a context, it is closed at the end.

    :ivar arraysize: How many rows ``fetchmany`` returns if it is not told.
    :ivar query_id: Roe's id of the query that was executed last, or None.
    """

    #: Roe has no such thing.
    lastrowid: Final = None

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.arraysize = 1
        self.query_id: str | None = None
        self._ended: str | None = None
        self._inserted = -1
        self._result: _Result | None = None
        self._unreadable: Error | None = None
        self._closed = False

    # Executing

    def execute(self, operation: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> Self:
        """
        Run SQL, and wait until it has ended.

        :param operation: One or more statements, separated by ``;``.
        :param parameters: Values for the placeholders: a sequence for ``%s``, a mapping for ``%(name)s``.
            With parameters, a percent sign is written ``%%``. Default: the SQL has no placeholders.
        :raises ProgrammingError: The parameters cannot be bound, or the SQL failed.
        :raises OperationalError: Roe could not be asked, did not finish in time, or stopped the query.
        """
        self._forget()
        with as_dbapi_errors():
            sql = bind(operation, parameters)
        self._run(sql)
        return self

    def executemany(
        self, operation: str, seq_of_parameters: Iterable[Sequence[Any] | Mapping[str, Any]]
    ) -> Self:
        """
        Run SQL once for each set of parameters, and wait until the last has ended.

        An ``INSERT … VALUES (…)`` becomes few queries, of many rows each: at most 10,000, and 1 MiB of JSON.
        Whatever else it is becomes a query each. When one fails, the others are not run; those before it are
        in effect, and the error says how many they were, and whether the one that failed may be, too.

        :param operation: The SQL, with placeholders as :meth:`execute` takes them.
        :param seq_of_parameters: The sets of parameters.
        :raises ProgrammingError: Parameters cannot be bound, or the SQL failed.
        :raises OperationalError: Roe could not be asked, did not finish in time, or stopped a query.
        """
        self._forget()
        done = 0
        try:
            for sql, sets in _bound(operation, seq_of_parameters):
                self._run(sql)
                done += sets
        except Error as e:
            self._ended = None  # the result of one before it is not that of them all
            text = f"{e} {done:,} sets of parameters were executed before; those that follow were not sent."
            if isinstance(e, OperationalError) and (self.query_id or _may_have_acted(e.__cause__)):
                text += " The query that failed may be in effect."
            raise type(e)(text) from (e.__cause__ or e)
        if _insert_of_a_row(operation):
            self._inserted = done
        return self

    def _run(self, sql: str) -> None:
        self._ended = self.query_id = None
        self.query_id = self.connection._submit(sql)
        self.connection._wait(self.query_id)
        self._ended = self.query_id

    # The result

    @property
    def description(self) -> list[tuple[str, str, None, None, None, None, bool]] | None:
        """The columns of the result set: name, ClickHouse type, …, whether it may hold NULL; None without."""
        statement = self._result_now().statement if self._ended else None
        if statement is None:
            return None
        return [
            (column.name, column.type_name, None, None, None, None, column._type.nullable)
            for column in statement.columns
        ]

    @property
    def rowcount(self) -> int:
        """How many rows the result set has, or the query has written; -1 if that is not known."""
        if self._ended is None or self._inserted >= 0:
            return self._inserted
        return self._result_now().row_count

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row, or None after the last."""
        return next(self, None)

    def fetchmany(self, size: int | None = None) -> list[tuple[Any, ...]]:
        """
        Return the next rows; none after the last.

        :param size: How many at most. Default: ``arraysize``.
        """
        return self._take(self.arraysize if size is None else size)

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return all rows that are left."""
        return self._take(None)

    def nextset(self) -> bool | None:
        """Go on to the next statement that returns columns; return None if there is none."""
        result = self._result_now()
        self._unreadable = None
        return result.next_statement() or None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[Any, ...]:
        for row in self._take(1):
            return row
        raise StopIteration

    def setinputsizes(self, sizes: Sequence[Any]) -> None:
        """Leave all as it is: values say themselves what they are."""

    def setoutputsize(self, size: int, column: int | None = None) -> None:
        """Leave all as it is: cells of any size are read whole."""

    def close(self) -> None:
        """Close the cursor, and remove the file that holds its rows."""
        self._drop_result()
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _forget(self) -> None:
        """Let go of what was executed before."""
        self._check_open()
        self._drop_result()
        self.query_id, self._ended, self._inserted = None, None, -1

    def _drop_result(self) -> None:
        if self._result:
            self._result.close()
        self._result = self._unreadable = None

    def _check_open(self) -> None:
        self.connection._check_open()
        if self._closed:
            raise InterfaceError("The cursor is closed.")

    def _take(self, number: int | None) -> list[tuple[Any, ...]]:
        rows = self._result_now().rows
        if self._unreadable:  # the rows end there, and that must not look like their end
            raise self._unreadable
        if rows is None:
            raise ProgrammingError("The query returned no columns, and so no rows.")
        try:
            with as_dbapi_errors():
                return list(islice(rows, number))
        except Error as e:
            self._unreadable = e
            raise

    def _result_now(self) -> _Result:
        self._check_open()
        if self._ended is None:
            raise ProgrammingError("Nothing was executed, so there is no result.")
        if self._result is None:
            self._result = self.connection._fetch(self._ended)
        return self._result


class _Result:
    """
    A query's result, of which one statement's rows are read at a time.

    :param spooled: The result.
    :param files: Closes the files that hold it.
    """

    def __init__(self, spooled: SpooledResult, files: ExitStack) -> None:
        self._statements = spooled.batches()
        self._written = [statement.summary.get("written_rows") for statement in spooled.result.results]
        # Whoever drops a cursor without closing it leaves no file open.
        self.close = weakref.finalize(self, files.close)
        self.statement: Statement | None = None
        self.rows: Iterator[tuple[Any, ...]] | None = None
        self.next_statement()

    @property
    def row_count(self) -> int:
        """How many rows the statement returns; if none returns columns, how many were written."""
        if self.statement:
            return self.statement.row_count
        known = [rows for rows in self._written if type(rows) is int]
        return sum(known) if known else -1

    def next_statement(self) -> bool:
        """Go on to the next statement that returns columns, if there is one."""
        self.statement, batches = next(self._statements, (None, iter(())))
        self.rows = _tuples(self.statement, batches) if self.statement else None
        return self.statement is not None


def _tuples(statement: Statement, batches: Iterator[Batch]) -> Iterator[tuple[Any, ...]]:
    from airflow_provider_roe.results.columns import values

    for columns in values(statement, batches, "value"):
        yield from zip(*columns, strict=True)


def _may_have_acted(cause: BaseException | None) -> bool:
    """Say whether Roe may have taken a query of which it did not say so."""
    return isinstance(cause, RoeUnavailableError) and not cause.repeatable


def _insert_of_a_row(operation: object) -> re.Match[str] | None:
    """Return the parts of an INSERT of one row; None for whatever else it is."""
    return _INSERT.fullmatch(operation) if isinstance(operation, str) else None


def _bound(operation: str, sets: Iterable[Sequence[Any] | Mapping[str, Any]]) -> Iterator[tuple[str, int]]:
    """Yield the SQL to run for some sets of parameters, and for how many of them each is."""
    with as_dbapi_errors():
        insert = _insert_of_a_row(operation)
        if not insert:
            for parameters in sets:
                yield bind(operation, parameters), 1
            return
        start = bind(insert[1], ())
        rows: list[str] = []
        size = 0
        for number, parameters in enumerate(sets, 1):
            try:
                row = bind(insert[2], parameters)
            except RoeInputError as e:
                raise RoeInputError(f"Row {number:,}: {e}") from e
            weight = len(json.dumps(row))
            if rows and (len(rows) == MOST_ROWS or size + weight > MOST_BYTES):
                yield start + ", ".join(rows), len(rows)
                rows, size = [], 0
            rows.append(row)
            size += weight
        if rows:
            yield start + ", ".join(rows), len(rows)
