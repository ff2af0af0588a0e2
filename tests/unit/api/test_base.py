from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_roe.api import base, queries
from airflow_provider_roe.exceptions import (
    RoeAuthenticationError,
    RoeInputError,
    RoeNotFoundError,
    RoeRequestError,
    RoeUnavailableError,
)
from tests.unit.api.calls import ORGANIZATION, OTHER_QUERY, QUERY, STATUS, SUBMIT, answer, each_call

if TYPE_CHECKING:
    from time_machine import TimeMachineFixture


class TestIds:
    @pytest.mark.parametrize(
        "value", [QUERY, QUERY.upper(), f" {QUERY}\n", UUID(QUERY)], ids=["plain", "upper", "spaces", "UUID"]
    )
    def test_an_id_is_put_into_its_canonical_form(self, value):
        assert base.uuid(value, "query_id") == QUERY

    @pytest.mark.parametrize(
        "value",
        [
            "",
            None,
            "None",
            "../../admin",
            f"{QUERY}/../{OTHER_QUERY}",
            f"{QUERY}?x=1",
            [QUERY],
            {"id": QUERY},
            f"{{{QUERY}}}",
            f"urn:uuid:{QUERY}",
            QUERY.replace("-", ""),
            QUERY[:-1],
            QUERY + "0",
            QUERY.replace("7", "\N{ARABIC-INDIC DIGIT SEVEN}"),
            f"{QUERY[:8]} {QUERY[9:]}",
            f"{QUERY}\n{QUERY}",
            QUERY.encode(),
            7,
            "{{ ti.xcom_pull(task_ids='submit') }}",
        ],
        ids=repr,
    )
    def test_what_is_no_uuid_is_refused_with_field_and_value(self, value):
        with pytest.raises(RoeInputError) as e:
            queries.status_request(value, ORGANIZATION)
        assert str(e.value).startswith("query_id must be a UUID such as 00000000-0000-0000-0000-000000000000")
        assert base.clip(repr(value), 100) in str(e.value)

    def test_the_value_in_the_error_is_cut_to_100_characters(self):
        with pytest.raises(RoeInputError) as e:
            base.uuid("x" * 10_000_000, "query_id")
        assert str(e.value).endswith(f", not '{'x' * 98}….")

    def test_the_value_in_the_error_cannot_forge_a_line_of_the_log(self):
        with pytest.raises(RoeInputError) as e:
            base.uuid("a\nERROR forged", "query_id")
        assert "\n" not in str(e.value)


BODIES = [
    ({"message": "Out of memory"}, "Out of memory"),
    ({"detail": "Not found."}, "Not found."),
    ({"error": "Bad"}, "Bad"),
    ({"query": ["This field may not be blank."]}, "query: This field may not be blank."),
    ({"query": ["one", "two"], "use_admin": ["three"]}, "query: one; two; use_admin: three"),
    (["Worksheet query has been cancelled and cannot be executed"], "Worksheet query has been cancelled"),
    ({"error": {"message": "nested"}}, "nested"),
    ({"detail": [{"message": "in a list"}]}, "in a list"),
    ("just a string", "just a string"),
    (b"", ""),
    (b"<html><body><h1>502 Bad Gateway</h1></body></html>", "<html><body><h1>502 Bad Gateway"),
    (b"\xff\xfe\x00broken", "broken"),
    (None, ""),
    ({}, ""),
]


class TestErrorMessage:
    @pytest.mark.parametrize(("body", "text"), BODIES, ids=[repr(body)[:40] for body, _ in BODIES])
    def test_it_is_found_in_each_shape(self, body, text):
        assert text in base.error_message(answer(body))
        assert bool(text) == bool(base.error_message(answer(body)))

    @pytest.mark.parametrize(
        "body", [{"message": None, "detail": "no"}, {"detail": "", "error": "no"}], ids=repr
    )
    def test_an_empty_message_does_not_hide_another(self, body):
        assert "no" in base.error_message(answer(body))

    def test_it_is_cut_to_2000_characters(self):
        assert len(base.error_message(answer({"detail": "x" * 100_000}))) == 2000

    def test_it_is_one_printable_line(self):
        text = base.error_message(answer({"detail": "a\x1b[2J\r\nb\u202ec\u2028d\x00"}))
        assert text.isprintable()
        assert text == "a [2J b c d"

    def test_a_body_that_nests_without_end_does_not_end_the_task(self):
        assert base.error_message(answer(b"[" * 100_000)).startswith("[[[")
        assert "…" in base.error_message(answer(b"[" * 50 + b"]" * 50))


CODES = [
    (400, RoeRequestError, ""),
    (401, RoeAuthenticationError, "API Key (password)"),
    (402, RoeRequestError, "out of credits"),
    (403, RoeRequestError, "Organization ID (login)"),
    (404, RoeNotFoundError, "organization_id"),
    (405, RoeRequestError, ""),
    (413, RoeRequestError, ""),
    (422, RoeRequestError, ""),
    (301, RoeRequestError, "Redirects are not followed"),
    (302, RoeRequestError, "Base URL (host)"),
    (307, RoeRequestError, "Redirects are not followed"),
    (308, RoeRequestError, "Redirects are not followed"),
    (408, RoeUnavailableError, ""),
    (425, RoeUnavailableError, ""),
    (429, RoeUnavailableError, ""),
    (500, RoeUnavailableError, ""),
    (502, RoeUnavailableError, ""),
    (503, RoeUnavailableError, ""),
    (504, RoeUnavailableError, ""),
    (599, RoeUnavailableError, ""),
]


class TestRefusals:
    @each_call
    @pytest.mark.parametrize(("code", "kind", "advice"), CODES, ids=[str(code) for code, *_ in CODES])
    def test_each_code_has_its_error_and_its_advice(self, call, read, code, kind, advice):
        with pytest.raises(RoeRequestError) as e:
            read(call, answer({"detail": "Roe says so"}, code))
        assert type(e.value) is kind
        assert (e.value.status_code, e.value.request_id) == (code, "the-request-id")
        assert f"{call.method} {call.path} was answered with {code}: Roe says so." in str(e.value)
        assert advice in str(e.value)
        assert "Request id: the-request-id." in str(e.value)

    @pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504])
    def test_a_status_may_be_asked_for_again(self, code):
        with pytest.raises(RoeUnavailableError) as e:
            queries.read_status(STATUS, answer({}, code))
        assert e.value.repeatable

    @pytest.mark.parametrize(
        ("code", "headers", "repeatable"),
        [
            (429, {}, True),
            (429, {"retry_after": "3"}, True),
            (503, {"retry_after": "3"}, True),
            (503, {}, False),
            (503, {"retry_after": "soon"}, False),
            (500, {"retry_after": "3"}, False),
            (502, {}, False),
            (504, {}, False),
            (408, {}, False),
        ],
    )
    def test_a_submit_is_repeated_only_where_the_server_says_it_did_nothing(self, code, headers, repeatable):
        with pytest.raises(RoeUnavailableError) as e:
            queries.read_submitted(SUBMIT, answer({}, code, **headers))
        assert e.value.repeatable is repeatable

    @pytest.mark.parametrize("code", [429, 503, 500])
    def test_the_error_knows_how_long_to_wait(self, code):
        with pytest.raises(RoeUnavailableError) as e:
            queries.read_status(STATUS, answer({}, code, retry_after="17"))
        assert e.value.retry_after == 17

    @pytest.mark.parametrize("body", [b"<html>Not Found</html>", b""])
    def test_a_404_that_is_not_json_does_not_come_from_roe(self, body):
        with pytest.raises(RoeRequestError, match=r"not Roe's API.*Base URL") as e:
            queries.read_status(STATUS, answer(body, 404))
        assert not isinstance(e.value, RoeNotFoundError)

    def test_a_refusal_without_a_body_is_told_without_one(self):
        with pytest.raises(RoeRequestError, match=r"was answered with 400\. Request id"):
            queries.read_status(STATUS, answer(b"", 400))


class TestBodies:
    @each_call
    @pytest.mark.parametrize(
        "body",
        [
            b"<!doctype html><title>Log in</title>",
            b"",
            b"{",
            b"\x00\xff",
            b"{'a': 1}",
            b"9" * 5000,
            b"[" * 99_999,
        ],
        ids=["html", "empty", "cut", "bytes", "python", "huge number", "deep"],
    )
    def test_what_is_not_json_is_transient_and_quoted(self, call, read, body):
        with pytest.raises(RoeUnavailableError, match="a body that is not JSON; it starts with") as e:
            read(call, answer(body))
        assert base.clip(body[:60].decode("utf-8", "replace")) in str(e.value)
        assert (e.value.status_code, e.value.repeatable) == (200, call.method == "GET")

    @each_call
    def test_what_is_over_long_is_transient_and_quoted(self, call, read):
        with pytest.raises(RoeUnavailableError, match=r"not within [\d,]+ bytes; it starts with 'xxx") as e:
            read(call, answer(b"x" * 5000, overlong=True))
        assert len(str(e.value)) < 600

    @each_call
    @pytest.mark.parametrize("body", [None, 0, True, [], {}, [[]], {"detail": "ok"}], ids=repr)
    def test_json_of_the_wrong_shape_is_transient_and_quoted(self, call, read, body):
        with pytest.raises(RoeUnavailableError, match="not Roe's API") as e:
            read(call, answer(body))
        assert base.clip(repr(json.dumps(body))) in str(e.value)


NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def http_date(seconds: float) -> str:
    return format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)


class TestRetryAfter:
    @pytest.fixture(autouse=True)
    def _at_noon(self, time_machine: TimeMachineFixture) -> None:
        time_machine.move_to(NOW, tick=False)

    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({}, None),
            ({"retry-after": "0"}, 0),
            ({"retry-after": "120"}, 120),
            ({"retry-after": " 7 "}, 7),
            ({"retry-after": http_date(90)}, 90),
            ({"retry-after": http_date(-90)}, 0),
            ({"retry-after": "Sun, 01 Mar 2026 13:00:00"}, 3600),
            ({"retry-after": "Sunday, 01-Mar-26 12:00:30 GMT"}, 30),
            ({"retry-after": "soon"}, None),
            ({"retry-after": ""}, None),
            ({"retry-after": "-5"}, None),
            ({"retry-after": "1e3"}, None),
            ({"retry-after": "9" * 400}, None),
            ({"retry-after": "\u0663"}, None),
            ({"retry-after": "Sun, 99 Mar 2026 99:00:00 GMT"}, None),
        ],
        ids=repr,
    )
    def test_both_forms_are_read_and_what_is_neither_is_left_aside(self, headers, seconds):
        assert base.read_retry_after(headers) == seconds

    @pytest.mark.parametrize("skew", [-7200, 0, 7200])
    def test_a_date_is_compared_with_the_server_s_own(self, skew):
        headers = {"date": http_date(skew), "retry-after": http_date(skew + 45)}
        assert base.read_retry_after(headers) == 45

    def test_a_server_s_date_that_cannot_be_read_is_replaced_by_ours(self):
        assert base.read_retry_after({"date": "now", "retry-after": http_date(45)}) == 45


class TestClip:
    @pytest.mark.parametrize(
        ("text", "clipped"),
        [
            ("", ""),
            ("plain", "plain"),
            ("  a \t b\r\n c ", "a b c"),
            ("\x1b[31mred\x1b[0m", "[31mred [0m"),
            ("evil\u202etxt.exe", "evil txt.exe"),
            ("nul\x00 bell\x07", "nul bell"),
            ("\ud800", ""),
            ("Grüße, 世界", "Grüße, 世界"),
        ],
        ids=repr,
    )
    def test_one_printable_line_is_left(self, text, clipped):
        assert base.clip(text) == clipped

    @pytest.mark.parametrize("length", [9, 10, 11, 10_000_000])
    def test_it_is_cut_to_the_limit_and_says_so(self, length):
        clipped = base.clip("x" * length, 10)
        assert clipped == ("x" * length if length <= 10 else "x" * 9 + "…")


class TestRedact:
    @pytest.mark.parametrize(
        ("text", "key", "told"),
        [
            ("", "the-key", ""),
            ("nothing of it", "the-key", "nothing of it"),
            ("a", "", "a"),
            ("test company", "test", "*** company"),
            ("Bearer roe-0123456789.", "roe-0123456789", "Bearer ***."),
            ("cut off: roe-0123456", "roe-0123456789", "cut off: ***"),
            ("roe-0123/4567+, roe-0123%2F4567%2B", "roe-0123/4567+", "***, ***"),
            ("aaaaaaaaaaaaaaaa", "a" * 16, "******"),
            ("a&b a&amp;b", "a&b", "*** ***"),
        ],
        ids=repr,
    )
    def test_the_key_is_out_of_what_is_told(self, text, key, told):
        assert base.redact(text, key) == told

    @given(key=st.text('ab/"\\<&+%=', min_size=1, max_size=30), before=st.text(), after=st.text())
    def test_it_is_out_of_any_text(self, key, before, after):
        for written in (key, json.dumps(key)[1:-1], quote(key, safe=""), escape(key)):
            assert key not in base.redact(before + written + after, key)
