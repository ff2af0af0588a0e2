from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from airflow.providers.common.compat.sdk import BaseHook, Connection

from airflow_provider_roe.client.connection import RoeConnection
from airflow_provider_roe.exceptions import RoeInputError
from airflow_provider_roe.testing import RoeSimulator

if TYPE_CHECKING:
    from collections.abc import Callable

ORGANIZATION = "3f0c7a52-8d1e-4b6f-9a27-5c1b0e84d6f3"
QUERY = "7d9c3b1e-52f4-4a8d-9e60-1b7f2c4d8a35"
WORKSHEET = "5b0e1c2d-3f4a-4b5c-8d6e-7f8091a2b3c4"
OTHER_ORGANIZATION = "11111111-2222-4333-8444-555555555555"
KEY = "roe-Sup3rS3cret/Key+with=signs"


def connection(*, extra: Any = None, **fields: Any) -> Connection:
    """Return an Airflow connection that is good but for the fields given."""
    if not isinstance(extra, str | None):
        extra = json.dumps(extra)
    return Connection(conn_id="roe_test", **{"conn_type": "roe", "password": KEY} | fields, extra=extra)


def read(*, extra: Any = None, **fields: Any) -> RoeConnection:
    return RoeConnection.read(connection(extra=extra, **fields))


@pytest.fixture
def read_stored(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], RoeConnection]:
    """Return a function that reads a connection which the environment has as a URI or as JSON."""

    def read_stored(form: str) -> RoeConnection:
        monkeypatch.setenv("AIRFLOW_CONN_ROE_TEST", form)
        return RoeConnection.read(BaseHook.get_connection("roe_test"))

    return read_stored


class TestWhatAConnectionSays:
    def test_a_key_is_a_whole_connection(self):
        assert read() == RoeConnection(
            conn_id="roe_test",
            base_url="https://api.roe-ai.com",
            api_key=KEY,
            organization_id=None,
            request_timeout=60.0,
            retry_window=300.0,
            verify=True,
            success_statuses=frozenset(),
            failure_statuses=frozenset(),
            web_url="https://app.roe-ai.com/",
        )

    def test_every_field_is_read(self, tmp_path):
        bundle = tmp_path / "ca.pem"
        bundle.touch()
        assert read(
            login=ORGANIZATION.upper(),
            host="https://api.acme.roe-ai.com/",
            port=8443,
            extra={
                "request_timeout": 5,
                "retry_window": 0,
                "verify": str(bundle),
                "allow_http": False,
                "success_statuses": ["Done"],
                "failure_statuses": ["LOST", " gone "],
                "web_url": " https://app.acme.roe-ai.com/q/{query_id} ",
            },
        ) == RoeConnection(
            conn_id="roe_test",
            base_url="https://api.acme.roe-ai.com:8443",
            api_key=KEY,
            organization_id=ORGANIZATION,
            request_timeout=5.0,
            retry_window=0.0,
            verify=str(bundle),
            success_statuses=frozenset({"DONE"}),
            failure_statuses=frozenset({"LOST", "GONE"}),
            web_url="https://app.acme.roe-ai.com/q/{query_id}",
        )

    @pytest.mark.parametrize(
        ("form", "expected"),
        [
            (f"roe://{ORGANIZATION}:a-key@", {}),
            (f"roe://{ORGANIZATION}:a-key@api.acme.roe-ai.com", {"base_url": "https://api.acme.roe-ai.com"}),
            (f"roe://https://{ORGANIZATION}:a-key@roe.local:8443", {"base_url": "https://roe.local:8443"}),
            (f"roe://http://{ORGANIZATION}:a-key@127.0.0.1:8080", {"base_url": "http://127.0.0.1:8080"}),
            (
                f"roe://{ORGANIZATION}:a-key@/?request_timeout=2.5&retry_window=9&verify=false"
                "&success_statuses=DONE,OK&web_url=https%3A%2F%2Froe.test%2F%7Bquery_id%7D",
                {
                    "request_timeout": 2.5,
                    "retry_window": 9.0,
                    "verify": False,
                    "success_statuses": frozenset({"DONE", "OK"}),
                    "web_url": "https://roe.test/{query_id}",
                },
            ),
            (
                f"roe://{ORGANIZATION}:a-key@roe.test/?host_is_ours=1&allow_http=True",
                {"base_url": "https://roe.test"},
            ),
        ],
        ids=["alone", "tenant", "https", "http", "extra", "unknown extra"],
    )
    def test_it_can_be_written_as_a_uri_where_all_values_are_strings(self, form, expected, read_stored):
        plain = RoeConnection("roe_test", "https://api.roe-ai.com", "a-key", ORGANIZATION)
        assert read_stored(form) == dataclasses.replace(plain, **expected)

    def test_a_key_is_unquoted_from_a_uri(self, read_stored):
        uri = f"roe://{ORGANIZATION}:roe-Sup3rS3cret%2FKey%2Bwith%3Dsigns@"
        assert read_stored(uri).api_key == KEY

    @pytest.mark.parametrize(
        "extra", [{"verify": False, "retry_window": 7}, '{"verify": "false", "retry_window": "7"}']
    )
    def test_it_can_be_written_as_json(self, extra, read_stored):
        form = {"conn_type": "roe", "login": ORGANIZATION, "password": KEY, "extra": extra}
        conn = read_stored(json.dumps(form))
        assert (conn.organization_id, conn.api_key, conn.verify, conn.retry_window) == (
            ORGANIZATION,
            KEY,
            False,
            7,
        )

    def test_a_form_saves_what_was_left_empty_as_null_or_an_empty_string(self):
        names = [
            "request_timeout",
            "retry_window",
            "verify",
            "allow_http",
            "success_statuses",
            "failure_statuses",
            "web_url",
        ]
        for nothing in (None, ""):
            extra = dict.fromkeys([*names, "organization_id"], nothing)
            assert read(host="", login="", schema="", extra=extra) == read()

    def test_the_form_of_airflow_2_saves_strings(self):
        conn = read(
            host="http://roe.internal",
            extra={
                "request_timeout": "5",
                "retry_window": " 90 ",
                "verify": "True",
                "allow_http": True,
                "success_statuses": "Done, ok,",
            },
        )
        assert (conn.request_timeout, conn.retry_window, conn.verify) == (5.0, 90.0, True)
        assert conn.success_statuses == {"DONE", "OK"}

    def test_the_simulator_prints_a_connection(self, read_stored):
        with RoeSimulator() as roe:
            conn = read_stored(roe.connection_uri)
        assert (conn.base_url, conn.api_key) == (roe.url, roe.api_key)
        assert conn.organization_id == roe.organization_id


class TestKey:
    @pytest.mark.parametrize(
        "pasted", [KEY, f"Bearer {KEY}", f"bearer  {KEY}", f" BEARER {KEY}\n", f"\t{KEY}\r\n"], ids=repr
    )
    def test_a_pasted_prefix_and_surrounding_space_are_no_part_of_it(self, pasted):
        assert read(password=pasted).api_key == KEY

    def test_no_repr_shows_it(self):
        assert KEY not in repr(read())
        assert KEY not in str(read())

    @pytest.mark.parametrize("missing", [None, "", "  ", "Bearer "], ids=repr)
    def test_one_that_is_missing_is_asked_for(self, missing):
        with pytest.raises(RoeInputError, match=r"'roe_test', field password \(API Key\): it is empty"):
            read(password=missing)


class TestBaseUrl:
    @pytest.mark.parametrize(
        ("host", "port", "base_url"),
        [
            (None, None, "https://api.roe-ai.com"),
            (None, 0, "https://api.roe-ai.com"),
            (None, 8443, "https://api.roe-ai.com:8443"),
            ("api.acme.roe-ai.com", None, "https://api.acme.roe-ai.com"),
            ("API.Acme.Roe-AI.com", None, "https://api.acme.roe-ai.com"),
            ("api.acme.roe-ai.com:8443", None, "https://api.acme.roe-ai.com:8443"),
            ("api.acme.roe-ai.com:8443", 8443, "https://api.acme.roe-ai.com:8443"),
            ("https://api.acme.roe-ai.com/", None, "https://api.acme.roe-ai.com"),
            (" https://api.acme.roe-ai.com ", 0, "https://api.acme.roe-ai.com"),
            ("HTTPS://roe.local", 65535, "https://roe.local:65535"),
            ("http://localhost", 8080, "http://localhost:8080"),
            ("http://127.8.9.1:8080", None, "http://127.8.9.1:8080"),
            ("http://[::1]:8080", None, "http://[::1]:8080"),
            ("https://[2001:db8::1]", 8443, "https://[2001:db8::1]:8443"),
            ("Grün.example", None, "https://xn--grn-ioa.example"),
            ("https://grün.example:8443", None, "https://xn--grn-ioa.example:8443"),
            ("xn--grn-ioa.example", None, "https://xn--grn-ioa.example"),
            ("straße.example", None, "https://xn--strae-oqa.example"),
            ("roe_1.日本.example", None, "https://roe_1.xn--wgv71a.example"),
            ("roe。grün.example", None, "https://roe.xn--grn-ioa.example"),
            ("http://\uff11\uff12\uff17.0.0.1:8080", None, "http://127.0.0.1:8080"),
        ],
    )
    def test_it_is_made_of_host_and_port(self, host, port, base_url):
        assert read(host=host, port=port).base_url == base_url

    @pytest.mark.parametrize("allowed", [True, "true", "True ", "y"])
    def test_plain_http_to_another_host_can_be_allowed(self, allowed):
        assert (
            read(host="http://roe.internal", extra={"allow_http": allowed}).base_url == "http://roe.internal"
        )

    @pytest.mark.parametrize(
        "host",
        [
            "http://api.roe-ai.com",
            "http://10.0.0.5",
            "http://127.0.0.1.example.com",
            "http://localhost.example.com",
            "http://0.0.0.0",
            "http://[2001:db8::1]",
            "http://grün.example",
        ],
    )
    @pytest.mark.parametrize("forbidden", [{}, {"allow_http": False}, {"allow_http": "false"}], ids=repr)
    def test_plain_http_to_another_host_is_refused_for_the_key_would_travel_in_clear(self, host, forbidden):
        with pytest.raises(
            RoeInputError, match=r"'roe_test', field host \(Base URL\): plain http.*allow_http"
        ):
            read(host=host, extra=forbidden)


class TestLink:
    """Where people look at a query."""

    @pytest.mark.parametrize(
        ("web_url", "link"),
        [
            (None, "https://app.roe-ai.com/"),
            ("https://app.roe-ai.com", "https://app.roe-ai.com"),
            ("http://roe.internal:8080/queries", "http://roe.internal:8080/queries"),
            ("https://app.roe-ai.com/q/{query_id}", f"https://app.roe-ai.com/q/{QUERY}"),
            (
                "https://app.roe-ai.com/#/w/{worksheet_id}?tab=result&query={query_id}&again={query_id}",
                f"https://app.roe-ai.com/#/w/{WORKSHEET}?tab=result&query={QUERY}&again={QUERY}",
            ),
            ("https://app.roe-ai.com/a%20b/@acme/~x", "https://app.roe-ai.com/a%20b/@acme/~x"),
        ],
    )
    def test_it_is_web_url_with_its_ids_filled_in(self, web_url, link):
        conn = read(extra={"web_url": web_url})
        assert conn.link(query_id=QUERY, worksheet_id=WORKSHEET) == link

    @pytest.mark.parametrize(
        "ids",
        [
            {"query_id": QUERY},
            {"query_id": QUERY, "worksheet_id": ""},
            {"query_id": QUERY, "worksheet_id": "../../logout"},
            {"query_id": None, "worksheet_id": WORKSHEET},
            {"query_id": "javascript:alert(1)", "worksheet_id": WORKSHEET},
        ],
        ids=str,
    )
    def test_it_is_the_start_page_if_an_id_that_it_needs_is_unknown_or_no_uuid(self, ids):
        conn = read(extra={"web_url": "https://roe.test:8443/w/{worksheet_id}?q={query_id}#end"})
        assert conn.link(**ids) == "https://roe.test:8443/"

    def test_an_id_that_it_does_not_need_may_be_unknown(self):
        conn = read(extra={"web_url": "https://roe.test/q/{query_id}"})
        assert conn.link(query_id=UUID(QUERY)) == f"https://roe.test/q/{QUERY}"


KNOWN = (
    "request_timeout, retry_window, verify, allow_http, success_statuses, failure_statuses, web_url,"
    " organization_id"
)


class TestUnknownKeys:
    """A key of the extra that is not read is told, with the one that is meant."""

    @pytest.fixture
    def warnings(self, caplog) -> Callable[..., list[str]]:
        """Return what reads a connection of a new id with this extra, and returns what is told of it."""

        def warnings(extra: dict[str, Any], conn_id: str | None = None, times: int = 1) -> list[str]:
            caplog.clear()
            conn_id = conn_id or f"roe_{uuid4()}"
            for _ in range(times):
                RoeConnection.read(
                    Connection(conn_id=conn_id, conn_type="roe", password=KEY, extra=json.dumps(extra))
                )
            assert {record.levelname for record in caplog.records} <= {"WARNING"}
            assert all(
                message.startswith(f"Connection '{conn_id}', field extra: ") for message in caplog.messages
            )
            return [message.partition("extra: ")[2] for message in caplog.messages]

        return warnings

    @pytest.mark.parametrize(
        ("key", "meant"),
        [
            ("retry_windows", "retry_window"),
            ("retrywindow", "retry_window"),
            ("Retry_Window", "retry_window"),
            ("RETRY-WINDOW", "retry_window"),
            ("retry window", "retry_window"),
            (" retry_window ", "retry_window"),
            ("extra__roe__retry_windows", "retry_window"),
            ("extra__roe__Retry-Window", "retry_window"),
            ("requestTimeout", "request_timeout"),
            ("timeout", "request_timeout"),
            ("verify_ssl", "verify"),
            ("success_status", "success_statuses"),
            ("organisation_id", "organization_id"),
            ("weburl", "web_url"),
        ],
    )
    def test_the_name_that_is_meant_is_told(self, warnings, key, meant):
        assert warnings({key: 7}) == [f"{key!r} is not read; is {meant} meant?"]

    @pytest.mark.parametrize("key", ["colour", "x", "extra__http__proxy", "1" * 5000])
    def test_without_one_like_it_the_names_that_are_read_are_told(self, warnings, key):
        (told,) = warnings({key: KEY})
        assert told.endswith(f" is not read; what is read: {KNOWN}.")
        assert len(told) < 400
        assert KEY not in told

    def test_it_is_told_once_for_each_connection(self, warnings):
        extra = {"retry_windows": 7, "colour": "red"}
        assert len(warnings(extra, "roe_told_once", times=3)) == 2
        assert warnings(extra | {"verified": True}, "roe_told_once") == [
            "'verified' is not read; is verify meant?"
        ]
        assert len(warnings(extra)) == 2

    def test_nothing_is_told_of_what_is_read_or_was_left_empty(self, warnings, tmp_path):
        everything = {
            "request_timeout": 5,
            "retry_window": 5,
            "verify": True,
            "allow_http": False,
            "success_statuses": ["DONE"],
            "failure_statuses": ["LOST"],
            "web_url": "https://app.roe-ai.com/",
            "organization_id": ORGANIZATION,
        }
        assert warnings(everything) == []
        assert warnings({f"extra__roe__{name}": value for name, value in everything.items()}) == []
        assert warnings({"retry_windows": None, "colour": ""}) == []

    @pytest.mark.parametrize(
        ("extra", "seconds"),
        [
            ({"extra__roe__retry_window": 7}, 7),
            ({"extra__roe__retry_window": "7"}, 7),
            ({"extra__roe__retry_window": 7, "retry_window": 9}, 9),
            ({"retry_window": 9, "extra__roe__retry_window": 7}, 9),
            ({"extra__roe__retry_window": 7, "retry_window": ""}, 7),
            ({"extra__roe__retry_window": 7, "retry_window": None}, 7),
            ({"extra__roe__retry_window": "", "retry_window": 9}, 9),
            ({"extra__roe__retry_window": 7, "retry_window": 0}, 0),
        ],
        ids=str,
    )
    def test_a_form_s_old_prefix_is_read_where_the_plain_name_is_not_given(self, extra, seconds):
        assert read(extra=extra).retry_window == seconds

    def test_what_stands_behind_the_prefix_is_checked_as_ever(self):
        with pytest.raises(RoeInputError, match=r"field extra\.retry_window: it must be a number of seconds"):
            read(extra={"extra__roe__retry_window": "long"})


UNUSABLE = [
    ("password", {"password": "two words"}, "holds a space"),
    ("password", {"password": "line\nbreak"}, "line break"),
    ("password", {"password": "line\r\nX-Injected: 1"}, "line break"),
    ("password", {"password": "nul\x00"}, "another character"),
    ("password", {"password": "caf\u00e9"}, "another character"),
    ("password", {"password": "Bearer Bearer x"}, "holds a space"),
    ("login", {"login": "acme"}, "'acme'"),
    ("login", {"login": "../x"}, "'../x'"),
    ("login", {"login": ORGANIZATION, "extra": {"organization_id": OTHER_ORGANIZATION}}, "names another one"),
    ("extra.organization_id", {"extra": {"organization_id": "acme"}}, "'acme'"),
    ("extra.organization_id", {"extra": {"organization_id": 7}}, "7"),
    ("host", {"host": "https://"}, "'https://'"),
    ("host", {"host": "https://api.roe-ai.com/v1/database"}, "without a path"),
    ("host", {"host": "https://api.roe-ai.com?x=1"}, "without a path"),
    ("host", {"host": "https://api.roe-ai.com#x"}, "without a path"),
    ("host", {"host": "ftp://api.roe-ai.com"}, "base URL"),
    ("host", {"host": "javascript:alert(1)"}, "base URL"),
    ("host", {"host": "api roe-ai.com"}, "base URL"),
    ("host", {"host": "api.roe-ai.com\nevil.example"}, "base URL"),
    ("host", {"host": "api.roe-ai.com\\@evil.example"}, "credentials"),
    ("host", {"host": "api.roe-ai.com:port"}, "base URL"),
    ("host", {"host": "api.roe-ai.com:99999"}, "base URL"),
    ("host", {"host": "https://[::1"}, "base URL"),
    ("host", {"host": f"https://x:{KEY}@api.roe-ai.com"}, "credentials"),
    ("host", {"host": "api roe.com/" + "x" * 5000}, "base URL"),
    ("host", {"host": "api..roe-ai.com"}, "base URL"),
    ("host", {"host": "x" * 64 + ".example"}, "base URL"),
    ("host", {"host": "ü" * 60 + ".example"}, "base URL"),
    ("host", {"host": "grün..example"}, "base URL"),
    ("host", {"host": "-grün.example"}, "base URL"),
    ("host", {"host": "℀.example"}, "base URL"),
    ("port", {"port": -1}, "-1"),
    ("port", {"port": 65536}, "65536"),
    ("port", {"host": "roe.local:8443", "port": 443}, "contradicts"),
    ("schema", {"schema": "https"}, "not used"),
    ("extra", {"extra": "not json"}, "JSON object"),
    ("extra", {"extra": '["a"]'}, "JSON object"),
    ("extra", {"extra": f'{{"retry_window": {KEY}'}, "JSON object"),
    *[
        ("extra.request_timeout", {"extra": {"request_timeout": value}}, "above 0")
        for value in ("soon", 0, "0", -1, "nan", "inf", True, [60], 1e12)
    ],
    *[
        ("extra.retry_window", {"extra": {"retry_window": value}}, "0 or more")
        for value in ("long", -1, "-inf", False, {}, "1 h")
    ],
    *[
        ("extra.allow_http", {"host": "http://roe.internal", "extra": {"allow_http": v}}, "true or false")
        for v in ("yes", 1)
    ],
    *[
        ("extra.verify", {"extra": {"verify": value}}, "true")
        for value in ("/no/such.pem", "/", "yes", 0, ["x"])
    ],
    *[
        (f"extra.{name}", {"extra": {name: value}}, "must be a list")
        for name in ("success_statuses", "failure_statuses")
        for value in (7, [7], {"DONE": 1}, True)
    ],
    *[
        ("extra.web_url", {"extra": {"web_url": value}}, "an http or https URL")
        for value in (
            "javascript:alert(1)",
            "JavaScript://app.roe-ai.com/%0aalert(1)",
            "java\nscript:alert(1)",
            "data:text/html,<script>alert(1)</script>",
            "file:///etc/passwd",
            "app.roe-ai.com",
            "//app.roe-ai.com",
            "/queries",
            "https://",
            "https:///queries",
            "https:app.roe-ai.com",
            f"https://x:{KEY}@app.roe-ai.com/",
            "https://app.roe-ai.com\\@evil.example/",
            "https://app.roe-ai.com?x=1",
            "https://{query_id}.evil.example/",
            "{query_id}",
            "https://app.roe-ai.com/{organization_id}",
            "https://app.roe-ai.com/{QUERY_ID}",
            "https://app.roe-ai.com/{}",
            "https://app.roe-ai.com/{{query_id}}",
            "https://app.roe-ai.com/{query_id!r}",
            "https://app.roe-ai.com/{query_id.__class__}",
            "https://app.roe-ai.com/{query_id",
            "https://app.roe-ai.com/}",
            "https://app.roe-ai.com/a b",
            "https://app.roe-ai.com/a\nb",
            'https://app.roe-ai.com/"onclick=alert(1)',
            "https://app.roe-ai.com/<b>",
            "https://app.roe-ai.com/caf\u00e9",
            "https://app.roe-ai.com:port/",
            7,
            ["https://app.roe-ai.com/"],
            True,
        )
    ],
    ("extra.success_statuses", {"extra": {"success_statuses": ["failure"]}}, "another meaning"),
    ("extra.success_statuses", {"extra": {"success_statuses": ["STARTED"]}}, "another meaning"),
    ("extra.failure_statuses", {"extra": {"failure_statuses": ["SUCCESS"]}}, "another meaning"),
    (
        "extra.success_statuses",
        {"extra": {"success_statuses": "X", "failure_statuses": "X"}},
        "another meaning",
    ),
]


class TestWhatCannotBeUsed:
    @pytest.mark.parametrize(("field", "fields", "problem"), UNUSABLE, ids=lambda value: repr(value)[:60])
    def test_it_is_refused_with_the_names_of_connection_and_field_and_without_the_key(
        self, field, fields, problem
    ):
        with pytest.raises(RoeInputError) as e:
            read(**fields)
        text = str(e.value)
        assert text.startswith("Connection 'roe_test'")
        assert field in text.partition("must be a UUID")[0]
        assert problem in text
        assert text.isprintable()
        assert len(text) < 500
        for secret in (KEY, fields.get("password")):
            assert not secret or secret not in text

    def test_the_path_of_a_bundle_may_begin_at_home(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        Path(tmp_path, "ca.pem").touch()
        assert read(extra={"verify": "~/ca.pem"}).verify == str(tmp_path / "ca.pem")
