from __future__ import annotations

import pytest

from airflow_provider_roe.testing.sql import run, split


def only_result(sql: str, cells: str = "client") -> dict:
    outcome = run(sql, cells=cells)
    assert outcome.error is None
    (result,) = outcome.results
    return result


@pytest.mark.parametrize("table", ["documents", "invoices", "reviews"])
def test_there_is_a_small_data_set(table):
    (rows,) = only_result(f"SELECT count(*) FROM {table}")["result_rows"]
    assert 10 <= int(rows[0]) <= 40


def test_the_tables_belong_together():
    sql = "SELECT count(*) FROM invoices JOIN documents ON documents.id = document_id WHERE kind = 'invoice'"
    assert only_result(sql)["result_rows"] == only_result("SELECT count(*) FROM invoices")["result_rows"]


@pytest.mark.parametrize(
    ("expression", "client", "text", "type_name"),
    [
        ("1", "1", "1", "Int64"),
        ("1.5", "1.5", "1.5", "Float64"),
        ("2.0", "2.0", "2", "Float64"),
        ("1e-7", "1e-07", "1e-7", "Float64"),
        ("1e300", "1e+300", "1e300", "Float64"),
        ("-9e999", "-inf", "-inf", "Float64"),
        ("'café'", "café", "café", "String"),
        ("'2.0'", "2.0", "2.0", "String"),
        ("NULL", None, "ᴺᵁᴸᴸ", "Nullable(Nothing)"),
        ("x'414243'", "ABC", "ABC", "String"),
        ("CAST(x'ff' AS TEXT)", "\ufffd", "\ufffd", "String"),
    ],
)
def test_cells_are_as_the_client_or_as_text_and_types_are_clickhouses(expression, client, text, type_name):
    for cells, cell in [("client", client), ("text", text)]:
        result = only_result(f"SELECT {expression} AS x", cells)
        assert result["column_names"] == ["x"]
        assert result["column_types"] == [type_name]
        assert result["result_rows"] == [[cell]]


@pytest.mark.parametrize(
    ("values", "type_name"),
    [
        ("(1), (NULL)", "Nullable(Int64)"),
        ("(1), (2.5)", "Float64"),
        ("(1), (2.5), (NULL)", "Nullable(Float64)"),
        ("(1), ('a')", "String"),
    ],
)
def test_a_column_has_the_type_that_fits_all_its_cells(values, type_name):
    assert only_result(f"VALUES {values}")["column_types"] == [type_name]


def test_a_column_without_rows_is_a_string():
    result = only_result("SELECT id FROM documents WHERE false")
    assert (result["column_types"], result["result_rows"], result["row_count"]) == (["String"], [], 0)


def test_a_statement_result_has_the_documented_fields():
    result = only_result("SELECT vendor, total FROM invoices LIMIT 3;")
    assert result["query"] == "SELECT vendor, total FROM invoices LIMIT 3"
    assert result["row_count"] == 3
    assert result["start_timestamp"] <= result["end_timestamp"]
    summary = result["summary"]
    assert summary["query_id"] == result["query_id"]
    assert summary["result_rows"] == 3
    assert summary["result_bytes"] > 0
    assert summary["elapsed_ns"] >= 0


def test_written_rows_are_counted():
    result = only_result(
        "INSERT INTO invoices SELECT number || '-copy', 1, '', '', '', '', 0, 0, 0 FROM invoices"
    )
    assert result["summary"]["written_rows"] == 10
    assert (result["row_count"], result["column_names"]) == (0, [])


@pytest.mark.parametrize(
    ("sql", "statements"),
    [
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1;\n SELECT 2 ;", ["SELECT 1", "SELECT 2"]),
        ("SELECT ';' ; SELECT 2", ["SELECT ';'", "SELECT 2"]),
        ("SELECT 1 -- ; no\n; SELECT 2", ["SELECT 1 -- ; no", "SELECT 2"]),
        ("SELECT 1 /* ; */; SELECT 2", ["SELECT 1 /* ; */", "SELECT 2"]),
        ("SELECT 1; -- done", ["SELECT 1"]),
        (";; /* a */ ; -- b\n", []),
        ("SELECT 'open ; string", ["SELECT 'open ; string"]),
    ],
)
def test_statements_end_at_semicolons_outside_of_strings_and_comments(sql, statements):
    assert list(split(sql)) == statements


def test_a_trigger_is_one_statement():
    trigger = (
        "CREATE TRIGGER t AFTER DELETE ON reviews BEGIN DELETE FROM documents; DELETE FROM invoices; END"
    )
    assert list(split(f"{trigger}; SELECT 1")) == [trigger, "SELECT 1"]


def test_statements_of_one_query_see_each_other_and_no_other_query():
    outcome = run("CREATE TABLE mine (a); INSERT INTO mine VALUES (7); SELECT a FROM mine")
    assert [result["result_rows"] for result in outcome.results] == [[], [], [["7"]]]
    assert run("SELECT a FROM mine").error == "no such table: mine"


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("SELECT * FROM invocies", "no such table: invocies"),
        ("SELEC 1", 'near "SELEC": syntax error'),
        ("/* nothing */ ;", "Empty query"),
        ("SELECT 'open", 'unrecognized token: "\'open"'),
    ],
)
def test_wrong_sql_fails_with_the_databases_message(sql, error):
    assert run(sql).error == error


def test_text_that_is_not_unicode_fails():
    assert "surrogates not allowed" in run("SELECT '\ud800'").error


@pytest.mark.parametrize("sql", ["\0", "SELECT '\0'", "SELECT 1; \0"])
def test_text_with_a_nul_fails(sql):
    assert "null character" in run(sql).error


def test_the_first_failing_statement_ends_the_query():
    outcome = run("SELECT 1; SELECT * FROM nowhere; SELECT 3")
    assert outcome.error == "no such table: nowhere"
    assert [result["result_rows"] for result in outcome.results] == [[["1"]]]


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "


def test_endless_sql_is_stopped():
    assert (
        run(f"{ENDLESS} SELECT count(*) FROM n", seconds=0.1).error == "Timeout exceeded: maximum 0.1 seconds"
    )


@pytest.mark.parametrize("cell", ["i", "''", "zeroblob(500000)"])
def test_an_endless_result_is_stopped(cell):
    outcome = run(f"{ENDLESS} SELECT {cell} FROM n", seconds=60)
    assert outcome.error == "Limit for result exceeded: maximum 10000000 bytes"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT length(randomblob(1000000000))",
        f"CREATE TABLE big (b); {ENDLESS} INSERT INTO big SELECT zeroblob(900000) FROM n",
    ],
)
def test_memory_is_limited(sql):
    assert run(sql, seconds=60).error in ("string or blob too big", "database or disk is full")


@pytest.mark.parametrize(
    "sql",
    [
        "ATTACH '{path}' AS f",
        "VACUUM INTO '{path}'",
        "PRAGMA max_page_count = 1000000",
        "SELECT load_extension('{path}')",
    ],
)
def test_files_and_settings_are_out_of_reach(sql, tmp_path):
    path = tmp_path / "file.db"
    assert run(sql.format(path=path)).error
    assert not path.exists()
