"""The Airflow connection of type ``roe``, read and checked."""

from __future__ import annotations

import ipaddress
import json
import logging
import math
import os
import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from airflow_provider_roe import defaults
from airflow_provider_roe.api import base, queries
from airflow_provider_roe.exceptions import RoeInputError
from airflow_provider_roe.get_provider_info import CONN_FIELDS

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

log = logging.getLogger(__name__)

WEEK = 7 * 24 * 60 * 60

_PLACEHOLDER = re.compile(r"\{(query_id|worksheet_id|job_id|agent_id)\}")
_WEB_URL = re.compile(
    rf"https?://[\w.-]+(:\d{{1,5}})?(/([\w/?#&=%+.,:;@!~*'()$-]|{_PLACEHOLDER.pattern})*)?", re.ASCII
)


#: What the extra may hold, and what old forms put before it.
_EXTRA = (*CONN_FIELDS, "organization_id")
_PREFIX = "extra__roe__"
_told: set[tuple[str | None, str]] = set()


@dataclass(frozen=True)
class RoeConnection:
    """
    What a connection says, checked.

    :param conn_id: The connection's id in Airflow.
    :param base_url: Scheme, host and port.
    :param api_key: Without a pasted ``Bearer``.
    :param organization_id: The organization that calls are for, unless a task names another.
    :param request_timeout: Seconds for one HTTP request.
    :param retry_window: Seconds for which one call keeps retrying transient errors.
    :param verify: Whether to verify the server's certificate, or the path of the CA bundle to do so with.
    :param success_statuses: Upper-case status values that mean success in this deployment, besides Roe's own.
    :param failure_statuses: Upper-case status values that mean failure in this deployment, besides Roe's own.
    :param web_url: Where people look at a query, or at an agent's job; may name ``{worksheet_id}`` and
        ``{query_id}``, or ``{agent_id}`` and ``{job_id}``.
    """

    conn_id: str
    base_url: str
    api_key: str = field(repr=False)
    organization_id: str | None = None
    request_timeout: float = defaults.REQUEST_TIMEOUT
    retry_window: float = defaults.RETRY_WINDOW
    verify: bool | str = defaults.VERIFY
    success_statuses: frozenset[str] = frozenset()
    failure_statuses: frozenset[str] = frozenset()
    web_url: str = defaults.WEB_URL

    @classmethod
    def read(cls, conn: Connection) -> RoeConnection:
        """
        Check an Airflow connection's fields.

        :param conn: The connection.
        :raises RoeInputError: A field cannot be used. The text names connection and field, never the key.
        """
        fields = _Fields(conn)
        success, failure = fields.statuses("success_statuses"), fields.statuses("failure_statuses")
        for name, words, others in (
            ("success_statuses", success, queries.RUNNING_STATUSES | queries.FAILURE_STATUSES | failure),
            ("failure_statuses", failure, queries.RUNNING_STATUSES | queries.SUCCESS_STATUSES),
        ):
            clash = words & others
            if clash:
                raise fields.error(f"extra.{name}", f"{sorted(clash)} already has another meaning")
        return cls(
            conn_id=fields.conn_id,
            base_url=fields.base_url(),
            api_key=fields.api_key(),
            organization_id=fields.organization_id(),
            request_timeout=fields.seconds("request_timeout", cls.request_timeout, above_zero=True),
            retry_window=fields.seconds("retry_window", cls.retry_window),
            verify=fields.verify(),
            success_statuses=success,
            failure_statuses=failure,
            web_url=fields.web_url(),
        )

    @property
    def statuses(self) -> dict[str, frozenset[str]]:
        """The status values that it names, as the readers of answers take them."""
        return {"success_statuses": self.success_statuses, "failure_statuses": self.failure_statuses}

    def link(self, **ids: object) -> str:
        """
        Return the URL at which people look at a query, or an agent's job.

        If ``web_url`` names an id that is unknown, or no UUID, it is the start page of that site.

        :param ids: What is known of ``query_id``, ``worksheet_id``, ``job_id`` and ``agent_id``: UUIDs.
        """
        try:
            return _PLACEHOLDER.sub(lambda name: base.uuid(ids.get(name[1]), name[1]), self.web_url)
        except RoeInputError:
            return urljoin(self.web_url, "/")


class _Fields:
    """A connection's fields, as typed into a form or written as text in a URI."""

    def __init__(self, conn: Connection) -> None:
        self.conn = conn
        self.conn_id = conn.conn_id
        # extra_dejson would forgive what is no JSON, and block an event loop to have values masked.
        try:
            extra = json.loads(conn.extra or "{}")
        except ValueError:
            extra = None
        if not isinstance(extra, dict):
            raise self.error("extra", "it must be a JSON object")
        # Forms save what was left empty as null or "".
        given = {name: value for name, value in extra.items() if value not in (None, "")}
        # Forms once put a prefix before each name.
        self.extra = {name.removeprefix(_PREFIX): value for name, value in given.items()} | given
        for name in given:
            if name.removeprefix(_PREFIX) not in _EXTRA:
                _tell_unknown(self.conn_id, name)

    def error(self, name: str, problem: str) -> RoeInputError:
        return RoeInputError(f"Connection {self.conn_id!r}, field {name}: {problem}.")

    def api_key(self) -> str:
        key = re.sub(r"^Bearer(\s+|$)", "", (self.conn.password or "").strip(), flags=re.IGNORECASE)
        if not key:
            raise self.error("password (API Key)", "it is empty; create a key in Roe and put it here")
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise self.error(
                "password (API Key)",
                "it holds a space, a line break or another character that no key has; paste the key alone",
            )
        return key

    def organization_id(self) -> str | None:
        login, extra = (self.conn.login or "").strip(), self.extra.get("organization_id")
        if login and extra and str(extra).strip().lower() != login.lower():
            raise self.error(
                "login (Organization ID)", "extra.organization_id names another one; keep one of them"
            )
        try:
            if extra:
                return base.uuid(extra, "extra.organization_id")
            return base.uuid(login, "login (Organization ID)") if login else None
        except RoeInputError as e:
            raise RoeInputError(f"Connection {self.conn_id!r}: {e}") from None

    def base_url(self) -> str:
        host, port = (
            (self.conn.host or "").strip(),
            self.conn.port or None,
        )  # 3.3.2's Test button sends port 0
        if self.conn.schema:
            raise self.error("schema", "it is not used; leave it empty, and put a base URL into host alone")
        if "@" in host:
            raise self.error("host (Base URL)", "it holds credentials; put the key into password")
        expected = f"give a base URL such as {defaults.BASE_URL}"
        found = base.clip(repr(host), 100)
        if not host:
            host = defaults.BASE_URL
        try:
            url = urlsplit(host if "://" in host else f"https://{host}")
            name, url_port = _ascii(url.hostname or ""), url.port
        except ValueError:
            raise self.error("host (Base URL)", f"{expected}, not {found}") from None
        if (
            url.scheme not in ("http", "https")
            or not name
            or not host.isprintable()  # urlsplit drops line breaks
            or not all(c.isalnum() or c in "-._:" for c in name)
            or url.path.strip("/")
            or url.query
            or url.fragment
        ):
            raise self.error("host (Base URL)", f"{expected}, without a path, not {found}")
        if port and url_port and port != url_port:
            raise self.error("port", f"{port} contradicts the port in host, {found}; leave one of them empty")
        port = port or url_port
        if port is not None and not 1 <= port <= 65535:
            raise self.error("port", f"it must be between 1 and 65535, not {port}")
        if url.scheme == "http" and not _is_loopback(name) and not self.boolean("allow_http", default=False):
            raise self.error(
                "host (Base URL)",
                f"plain http would show the API key to the network between here and {name}; use https, or set"
                " extra.allow_http to true if that network is yours",
            )
        if ":" in name:
            name = f"[{name}]"
        return f"{url.scheme}://{name}" + (f":{port}" if port else "")

    def seconds(self, name: str, default: float, *, above_zero: bool = False) -> float:
        value = self.extra.get(name, default)
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not 0 <= number <= WEEK or (above_zero and number == 0):
            kind = f"a number of seconds {'above 0' if above_zero else '0 or more'} and at most {WEEK}"
            raise self.error(f"extra.{name}", f"it must be {kind}, not {base.clip(repr(value), 100)}")
        return number

    def boolean(self, name: str, *, default: bool) -> bool:
        match value := self.extra.get(name, default):
            case bool():
                return value
            case str() if value.strip().lower() in ("true", "false"):
                return value.strip().lower() == "true"
            case "y":  # what the Test button of Airflow 2.11 sends for a ticked box
                return True
        raise self.error(f"extra.{name}", f"it must be true or false, not {base.clip(repr(value), 100)}")

    def verify(self) -> bool | str:
        value = self.extra.get("verify", defaults.VERIFY)
        if not isinstance(value, str) or value.strip().lower() in ("true", "false"):
            return self.boolean("verify", default=defaults.VERIFY)
        path = os.path.expanduser(value.strip())  # noqa: PTH111 - the transports take a str
        if not os.path.isfile(path):  # noqa: PTH113
            raise self.error(
                "extra.verify",
                f"it must be true, false or the path of a CA bundle; {base.clip(value, 200)!r} is no file",
            )
        return path

    def statuses(self, name: str) -> frozenset[str]:
        value = self.extra.get(name, [])
        words = value.split(",") if isinstance(value, str) else value
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise self.error(
                f"extra.{name}", f'it must be a list such as ["DONE"], not {base.clip(repr(value), 100)}'
            )
        return frozenset(word.strip().upper() for word in words if word.strip())

    def web_url(self) -> str:
        value = self.extra.get("web_url", RoeConnection.web_url)
        if not isinstance(value, str) or not _WEB_URL.fullmatch(value.strip()):
            raise self.error(
                "extra.web_url",
                f"it must be an http or https URL such as {defaults.WEB_URL}…/{{query_id}}, which may name"
                " {query_id}, {worksheet_id}, {job_id} and {agent_id} after its host, and nothing else in"
                " braces",
            )
        return value.strip()


def _tell_unknown(conn_id: str | None, name: str) -> None:
    """Warn of a key that is not read, once: a connection is looked up for every task."""
    if (conn_id, name) in _told:
        return
    _told.add((conn_id, name))
    plain = re.sub(r"[\s-]+", "_", name[:100].strip().lower()).removeprefix(_PREFIX)
    meant = get_close_matches(plain, _EXTRA, n=1)
    advice = f"is {meant[0]} meant?" if meant else f"what is read: {', '.join(_EXTRA)}."
    log.warning("Connection %r, field extra: %s is not read; %s", conn_id, base.clip(repr(name), 100), advice)


def _ascii(name: str) -> str:
    """Return a host's name as DNS has it, for the transports would differ on umlauts."""
    if not name.isascii():
        import idna

        labels = name.split(".")
        name = ".".join(
            label if label.isascii() else idna.encode(label, uts46=True).decode() for label in labels
        )
    name.encode("idna")  # refuses labels that are empty or too long
    return name


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
