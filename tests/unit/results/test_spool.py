from __future__ import annotations

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_provider_roe.api import queries
from airflow_provider_roe.api.base import Response
from airflow_provider_roe.exceptions import RoeError, RoeQueryFailedError, RoeResultError, RoeUnavailableError
from airflow_provider_roe.results import json_stream
from airflow_provider_roe.results.rows import rows
from tests.unit.results.answers import INSERT, INVOICES, NUMBERS, QUERY, REQUEST, body, read, statement


def read_whole(raw: bytes) -> queries.QueryResult:
    return queries.read_result(REQUEST, Response(200, {}, raw, "the-request-id"))


class TestReading:
    def test_all_but_the_rows_is_read_as_of_a_short_answer(self):
        answer = body(INVOICES, INSERT, NUMBERS)
        whole = queries.read_result(REQUEST, Response(200, {}, json.dumps(answer).encode(), "x"))
        read_ = read(answer).result
        assert (read_.query_id, read_.status, read_.error) == (whole.query_id, whole.status, whole.error)
        for statement_, of_whole in zip(read_.results, whole.results, strict=True):
            assert statement_.rows == ()
            assert (statement_.column_names, statement_.row_count) == (
                of_whole.column_names,
                of_whole.row_count,
            )

    def test_statements_that_return_columns_are_told_apart_from_those_that_do_not(self):
        statements = read(body(INVOICES, INSERT, NUMBERS)).statements
        assert [(s.number, s.row_count, s.columns[0].name) for s in statements] == [
            (1, 2, "id"),
            (3, 3, "n"),
        ]

    @pytest.mark.parametrize(("bound", "batches"), [(1, 20), (10_000, 3), (json_stream.PIECE, 1)])
    def test_rows_come_in_batches_of_a_size_by_column(self, monkeypatch, bound, batches):
        monkeypatch.setattr(json_stream, "PIECE", bound)
        numbers, letters = [str(n) for n in range(2000)], ["x"] * 2000
        many = statement(n=("UInt32", numbers), s=("String", letters))
        (first, parts), (second, others) = [
            (s.number, list(parts)) for s, parts in read(body(many, NUMBERS)).batches()
        ]
        assert (first, second) == (1, 2)
        assert [cell for part in parts for cell in part[0]] == numbers
        assert [cell for part in parts for cell in part[1]] == letters
        assert [cell for part in others for cell in part[0]] == ["1", "2", "3"]
        assert (len(parts) > batches) if bound == 1 else len(parts) == pytest.approx(batches, abs=1)

    @given(st.permutations(list(INVOICES)), st.permutations(list(body())))
    def test_the_order_of_fields_does_not_matter(self, names, top):
        shuffled = {name: body({name: INVOICES[name] for name in names}, NUMBERS)[name] for name in top}
        assert rows(read(shuffled), 10) == rows(read(body(INVOICES, NUMBERS)), 10)

    def test_one_that_says_that_its_query_failed_is_an_error_with_roe_s_words(self):
        with pytest.raises(RoeQueryFailedError, match="ended as FAILURE, says its result: Unknown table"):
            read(body(status="FAILURE", error="Unknown table"))

    def test_one_that_says_that_its_query_runs_is_no_answer_yet(self):
        with pytest.raises(RoeUnavailableError, match="is still STARTED"):
            read(body(NUMBERS, status="STARTED"))

    @pytest.mark.parametrize(
        "wrong",
        [
            {"column_names": "n"},
            {"column_names": ["n", "m"]},
            {"column_types": []},
            {"column_names": [], "column_types": []},
            {"result_rows": None},
            {"result_rows": {"item": ["1"]}},
            {"result_rows": "ab"},
            {"result_rows": ["a"]},
            {"result_rows": [None]},
            {"result_rows": [[]]},
            {"result_rows": [["1"], ["1", "2"]]},
            {"result_rows": [[]], "column_names": [], "column_types": []},
            {"row_count": "3"},
        ],
        ids=repr,
    )
    def test_a_statement_of_the_wrong_shape_is_named(self, wrong):
        with pytest.raises(
            RoeError, match=rf"result of query {QUERY} cannot be used: .* statement 2 must"
        ) as e:
            read(body(INVOICES, NUMBERS | wrong))
        assert not isinstance(e.value, RoeUnavailableError)

    @pytest.mark.parametrize(
        "wrong", [{"results": {"item": NUMBERS}}, {"results": [7]}, {"status": 7}], ids=repr
    )
    def test_a_result_of_the_wrong_shape_is_told(self, wrong):
        with pytest.raises(RoeError, match=r"cannot be used: (results|statement 1|status) must be") as e:
            read(body(NUMBERS) | wrong)
        assert not isinstance(e.value, RoeUnavailableError)

    def test_one_of_another_query_is_no_answer(self):
        with pytest.raises(RoeUnavailableError, match="not the result of this query"):
            read(body(NUMBERS, worksheet_query_id=REQUEST.path))

    def test_rows_that_come_twice_are_no_answer(self):
        twice = json.dumps(body(NUMBERS)).replace('"result_rows"', '"result_rows": [["9"]], "result_rows"')
        with pytest.raises(RoeUnavailableError, match="not the result of this query"):
            read(twice.encode())

    @pytest.mark.parametrize("cut", [0, 1, 50, -20, -1])
    def test_a_body_that_is_cut_is_no_answer(self, cut):
        with pytest.raises(RoeUnavailableError, match="a body that is not JSON; it starts with"):
            read(json.dumps(body(INVOICES)).encode()[:cut])

    @pytest.mark.parametrize(
        ("text", "wrong"),
        [
            ('"Ada', '"\\x Ada'),
            ('"Ada', '"\n'),
            ('["1"', '["1" "2"'),
            ('"results": [', '"results": [,'),
            ('"3"', "nul"),
            ("}]}", "}]} {}"),
        ],
    )
    @pytest.mark.parametrize("how", [read, read_whole])
    def test_what_begins_as_the_result_and_is_no_json_further_on_is_an_error_at_once(self, how, text, wrong):
        answer = json.dumps(body(INVOICES, NUMBERS)).replace(text, wrong, 1).encode()
        with pytest.raises(RoeError, match=f"result of query {QUERY} cannot be used: it is no JSON") as e:
            how(answer)
        assert not isinstance(e.value, RoeUnavailableError)

    @pytest.mark.parametrize(
        "raw", [b"<html>", b"[" * 99_999, b"[" * 99_999 + b"]" * 99_999, b'"\xff"', b"{} {}"]
    )
    def test_what_is_not_json_is_no_answer(self, raw):
        with pytest.raises(RoeUnavailableError, match="a body that is not JSON") as e:
            read(raw)
        assert e.value.request_id == "the-request-id"

    def test_a_refusal_is_read_as_ever(self):
        with pytest.raises(RoeUnavailableError, match="answered with 503: busy"):
            read({"detail": "busy"}, 503)

    def test_an_answer_that_holds_fewer_rows_than_it_counts_is_an_error(self):
        with pytest.raises(RoeError, match=rf"query {QUERY} .* it holds 3 of the 10,000 rows of statement 2"):
            read(body(INVOICES, NUMBERS | {"row_count": 10_000}))

    @given(
        st.recursive(
            st.none() | st.integers() | st.text(max_size=3),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from([*INVOICES, *body(), "item"]), inner, max_size=4)
            ),
        ),
        st.sampled_from(["results", "result_rows"]),
    )
    def test_any_other_shape_is_an_error_of_ours_or_as_the_short_reader_reads_it(self, value, place):
        answer = (
            body(NUMBERS, value) if place == "results" else body(NUMBERS | {place: value, "row_count": 0})
        )
        try:
            expected = queries.read_result(REQUEST, Response(200, {}, json.dumps(answer).encode(), "x"))
        except RoeError as e:
            with pytest.raises(type(e)):
                read(answer)
        else:
            # What the streaming reader reads of cells is a matter of its own.
            assume(all(isinstance(x, str | None) for s in expected.results for row in s.rows for x in row))
            held = [
                [list(row) for batch in batches for row in zip(*batch, strict=True)]
                for _, batches in read(answer).batches()
            ]
            assert held == [[list(row) for row in s.rows] for s in expected.results if s.column_names]


class TestCells:
    def test_a_string_that_could_be_null_is_one_where_nulls_come_as_json_has_them(self):
        words = statement(s=("Nullable(String)", ["\\N", "ᴺᵁᴸᴸ", "NULL"]))
        null = statement(n=("Nullable(UInt8)", [None]))
        assert rows(read(body(words)))[0] == [{"s": None}, {"s": None}, {"s": "NULL"}]
        assert rows(read(body(words, null)))[0] == [{"s": "\\N"}, {"s": "ᴺᵁᴸᴸ"}, {"s": "NULL"}]

    @pytest.mark.parametrize(
        ("type_name", "cell", "value"),
        [
            ("Decimal(38, 20)", "123456789012345678.00000000000000000001", None),
            ("UInt256", str(2**256 - 1), None),
            ("Float64", "NaN", "nan"),
            ("Float64", "-1.5E-7", -1.5e-7),
        ],
    )
    def test_a_number_of_json_loses_no_digit(self, type_name, cell, value):
        answer = json.dumps(body(statement(n=(type_name, ["#"])))).replace('"#"', cell)
        assert rows(read(answer.encode())) == [[{"n": cell if value is None else value}]]

    def test_natural_cells_of_all_kinds_are_read(self):
        natural = statement(
            b=("Bool", [True, False]),
            a=("Array(UInt8)", [[1, 2], []]),
            t=("Tuple(x UInt8, y String)", [{"x": 1, "y": "z"}, [2, "w"]]),
            m=("Map(String, UInt8)", [{"k": 1}, {}]),
        )
        assert rows(read(body(natural)))[0] == [
            {"b": True, "a": [1, 2], "t": {"x": 1, "y": "z"}, "m": {"k": 1}},
            {"b": False, "a": [], "t": {"x": 2, "y": "w"}, "m": {}},
        ]

    @pytest.mark.parametrize("piece", [7, 64, 1000])
    @given(
        st.lists(
            st.tuples(st.text('],["\\{}: x\n', max_size=9), st.lists(st.text("],["), max_size=2)), max_size=9
        )
    )
    def test_cells_that_look_like_json_are_not_cut_there(self, piece, cells):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(json_stream, "PIECE", piece)
            text = statement(s=("String", [s for s, _ in cells]), a=("Array(String)", [a for _, a in cells]))
            assert rows(read(body(text, NUMBERS)))[0] == [{"s": s, "a": a} for s, a in cells]

    def test_of_results_that_come_twice_the_latter_count(self):
        twice = json.dumps(body(NUMBERS)).replace(
            '"results"', f'"results": {json.dumps([INVOICES])}, "results"'
        )
        assert rows(read(twice.encode())) == [[{"n": 1}, {"n": 2}, {"n": 3}]]

    @pytest.mark.parametrize("number", ["1714425077.5", "1.5e+3", "1E-5", "12"])
    def test_a_number_is_read_whole_wherever_the_text_is_cut(self, number, monkeypatch):
        answer = json.dumps(body(NUMBERS | {"start_timestamp": "#"})).replace('"#"', number)
        for piece in range(1, len(answer)):
            monkeypatch.setattr(json_stream, "PIECE", piece)
            assert read(answer.encode()).result.results[0].start_timestamp == float(number)

    def test_a_number_of_too_many_digits_outside_the_rows_is_an_error_of_ours(self):
        with pytest.raises(RoeError, match="cannot be used: it is no JSON"):
            read(json.dumps(body(NUMBERS)).replace('"error": null', f'"error": {"9" * 5000}').encode())

    def test_a_column_s_name_that_is_no_text_is_named(self):
        named = statement(**{"\ud800": ("UInt8", ["1"])})
        with pytest.raises(RoeResultError, match=r"Statement 1, column '\\ud800': half a surrogate pair"):
            read(body(named)).check_names()
