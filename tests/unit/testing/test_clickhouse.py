"""The ClickHouse engine: most tests share one, whose start takes a second."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from airflow_provider_roe.testing import QueryPlan, RoeSimulator, clickhouse, sql
from airflow_provider_roe.testing.clickhouse import ClickHouse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CELLS = Path(__file__).parents[1] / "results" / "clickhouse_cells.jsonl"
TABLES = ["documents", "invoices", "reviews"]
AT_ONCE = QueryPlan(statuses=())


@pytest.fixture(scope="module")
def engine() -> Iterator[ClickHouse]:
    engine = ClickHouse()
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture
def results(engine: ClickHouse) -> Callable[..., list[dict[str, Any]]]:
    """Return what runs SQL that has to go well and returns its results."""

    def results(sql: str, **kwargs: Any) -> list[dict[str, Any]]:
        outcome = engine.run(sql, **{"seconds": 60, **kwargs})
        assert outcome.error is None
        return outcome.results

    return results


@pytest.fixture
def error(engine: ClickHouse) -> Callable[..., str | None]:
    """Return what runs SQL and returns its error."""

    def error(sql: str, seconds: float = 60) -> str | None:
        return engine.run(sql, seconds).error

    return error


def processes_of(process: psutil.Process) -> list[psutil.Process]:
    return [child for child in process.children() if "clickhouse_process" in " ".join(child.cmdline())]


@pytest.mark.parametrize(
    ("cells", "type_key", "key"), [("client", "client_type", "client_text"), ("text", "type", "text")]
)
def test_cells_are_what_the_client_reads_or_clickhouse_s_text(results, cells, type_key, key):
    known = [json.loads(line) for line in CELLS.read_text(encoding="utf-8").splitlines()]
    for cell in known:
        if cell["type"] == "IPv6":  # of which Python 3.13 writes the end of some otherwise
            cell["client_text"] = str(ip_address(cell["client_text"]))
    found = results(";\n".join(cell["sql"] for cell in known), cells=cells)
    assert [(result["column_types"], result["result_rows"]) for result in found] == [
        ([cell[type_key]], [[cell[key]]]) for cell in known
    ]


@pytest.mark.parametrize("table", TABLES)
def test_the_data_set_is_sqlite_s(results, table):
    query = f"SELECT * FROM {table} ORDER BY 1"
    [here] = results(query)
    [there] = sql.run(query).results
    assert (here["column_names"], here["result_rows"]) == (there["column_names"], there["result_rows"])
    assert here["row_count"] >= 10


def test_a_statement_result_has_the_documented_fields(results):
    [result] = results("SELECT vendor, total, due_on FROM invoices ORDER BY number LIMIT 3;")
    assert result["query"] == "SELECT vendor, total, due_on FROM invoices ORDER BY number LIMIT 3"
    assert result["row_count"] == len(result["result_rows"]) == 3
    assert result["column_names"] == ["vendor", "total", "due_on"]
    assert result["column_types"] == ["String", "Float64", "Nullable(String)"]
    assert result["start_timestamp"] <= result["end_timestamp"]
    summary = result["summary"]
    assert summary["query_id"] == result["query_id"]
    assert (summary["read_rows"], summary["written_rows"], summary["result_rows"]) == (10, 0, 3)
    assert summary["result_bytes"] > 0


@pytest.mark.parametrize("cells", ["client", "text"])
@pytest.mark.parametrize(
    "query",
    [
        "SELECT id, summary FROM documents WHERE 0",
        "/* a */ WITH 1 AS x SELECT x AS id, NULL AS summary LIMIT 0 -- b",
        "WITH 'insert' AS x SELECT x AS id, NULL AS summary LIMIT 0 -- to insert",
    ],
)
def test_columns_are_told_where_there_is_no_row(results, query, cells):
    [result] = results(query, cells=cells)
    assert (result["column_names"], result["result_rows"]) == (["id", "summary"], [])
    assert len(result["column_types"]) == 2


@pytest.mark.parametrize("cells", ["client", "text"])
def test_columns_are_told_where_there_is_nothing_to_show(results, cells):
    [result] = results("SHOW TABLES LIKE 'nothing'", cells=cells)
    assert (result["column_names"], result["column_types"], result["row_count"]) == (["name"], ["String"], 0)


@pytest.mark.parametrize("cells", ["client", "text"])
def test_a_file_is_written_once(results, tmp_path, cells):
    [result] = results(f"SELECT 1 INTO OUTFILE '{tmp_path}/one.csv'", cells=cells)
    assert (result["column_names"], result["row_count"]) == ([], 0)
    assert list(tmp_path.iterdir())


@pytest.mark.parametrize("cells", ["client", "text"])
def test_what_has_no_columns_has_none(results, cells):
    table = f"none_{cells}"
    found = results(
        f"CREATE TABLE {table} (a Int8) ORDER BY a; INSERT INTO {table} VALUES (1), (2); SET max_threads = 2;"
        f" WITH 3 AS x INSERT INTO {table} SELECT x; DROP TABLE {table}",
        cells=cells,
    )
    assert [(result["column_names"], result["result_rows"]) for result in found] == [([], [])] * 5
    assert [result["summary"]["written_rows"] for result in found] == [0, 2, 0, 1, 0]


@pytest.mark.parametrize(
    "query",
    [
        "SHOW TABLES LIKE 'reviews'",
        "(SELECT 'reviews' AS name)",
        "FROM reviews SELECT 'reviews' AS name LIMIT 1",
    ],
)
def test_whatever_has_rows_returns_them(results, query):
    [result] = results(query)
    assert (result["column_names"], result["result_rows"]) == (["name"], [["reviews"]])


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ("'a;b'", "a;b"),
        ("'it''s; \\'x\\';'", "it's; 'x';"),
        ("'\\\\'", "\\"),
        ("'\0;'", "\0;"),
        ("$$a;'b$$", "a;'b"),
        ("$tag$a;$$;$ta$b$tag$", "a;$$;$ta$b"),
        ("\u2018a;'b\u2019", "a;'b"),
        ("/* ; /* ; */ ' */ 1", "1"),
        ("-- ; '\n 1", "1"),
        ("# ; '\n 1", "1"),
        ("#! ; '\n 1", "1"),
        ("// ; '\n 1", "1"),
        ("1 AS `a;\\`;`", "1"),
        ('1 AS "a;"";"', "1"),
        ("1 AS \u201ca;\u201d", "1"),
        ("1 AS a$$", "1"),
    ],
)
def test_a_text_is_split_as_the_engine_reads_it(results, literal, value):
    found = results(f"SELECT {literal}; SELECT 2;")
    assert [result["result_rows"] for result in found] == [[[value]], [["2"]]]


@pytest.mark.parametrize(
    ("query", "begin", "end"),
    [
        ("SELECT * FROM invocies", "Code: 60. DB::Exception: Unknown table", "(UNKNOWN_TABLE)"),
        ("SELEC 1", "Code: 62. DB::Exception: Syntax error: failed at position 1 (SELEC)", "(SYNTAX_ERROR)"),
        (
            "WITH 1 AS x SELEC x -- no insert",
            "Code: 62. DB::Exception: Syntax error: failed at position 13 (SELEC)",
            "(SYNTAX_ERROR)",
        ),
        ("SELECT 'open", "Code: 62. DB::Exception: Single quoted string is not closed", "(SYNTAX_ERROR)"),
        ("SELECT 1 FORMAT JSON", "Code: 62. DB::Exception: Syntax error", "(SYNTAX_ERROR)"),
        (
            "SELECT throwIf(1, 'No;')",
            "Code: 395. DB::Exception: No;",
            "(FUNCTION_THROW_IF_VALUE_IS_NON_ZERO)",
        ),
        ("/* nothing */ ;", "Code: 62. DB::Exception: Empty query", "(SYNTAX_ERROR)"),
        ("SELECT '\ud800'", "'utf-8' codec can't encode", "surrogates not allowed"),
        ("SELECT uniqState(1)", "AggregateFunction(uniq, UInt8)", "not supported"),
    ],
)
def test_wrong_sql_fails_with_the_engine_s_words(error, query, begin, end):
    told = error(query)
    assert told.startswith(begin)
    assert told.endswith(end)


def test_the_first_failing_statement_ends_the_query(engine):
    outcome = engine.run("SELECT 1; SELECT * FROM nowhere; SELECT 3", 60)
    assert "nowhere" in outcome.error
    assert [result["result_rows"] for result in outcome.results] == [[["1"]]]


def test_queries_share_tables_but_neither_settings_nor_temporary_tables(results, error):
    results(
        "CREATE TABLE mine (a Int8) ORDER BY a; INSERT INTO mine VALUES (7);"
        " CREATE TEMPORARY TABLE fleeting (a Int8); SET max_threads = 3"
    )
    mine, threads = results("SELECT a FROM mine; SELECT getSetting('max_threads')")
    assert (mine["result_rows"], threads["result_rows"]) == ([["7"]], [["1"]])
    assert "fleeting" in error("SELECT * FROM fleeting")


def test_queries_run_side_by_side(results):
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(results, [f"SELECT {n}, sleep(0.2)" for n in range(8)])
    assert [result["result_rows"][0][0] for [result] in found] == list("01234567")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count() FROM numbers(1000000000000)",
        "SELECT sleep(0.1); SELECT count() FROM numbers(1000000000000)",
        "SELECT sleep(3)",
    ],
)
def test_endless_sql_is_stopped(error, query):
    assert error(query, seconds=0.2).startswith("Code: 159. DB::Exception: Timeout exceeded: ")


@pytest.mark.parametrize("cell", ["number", "repeat('x', 1000)", "NULL"])
def test_an_endless_result_is_stopped(error, cell):
    told = error(f"SELECT {cell} FROM numbers(1000000000000)")
    assert told.startswith("Code: 396. DB::Exception: Limit for result exceeded")


def test_an_endless_result_is_stopped_that_speaks_of_an_insert(error):
    told = error("WITH 1 AS x SELECT number, x FROM numbers(1000000000000) -- rows to insert")
    assert told.startswith("Code: 396. DB::Exception: Limit for result exceeded")


def test_memory_is_limited(error):
    assert error("SELECT groupArray(number) FROM numbers(1000000000)").startswith(
        "Code: 241. DB::Exception: "
    )


class TestItsProcess:
    def test_another_takes_its_place_where_it_is_killed_and_has_all_rows(self, engine, results, until):
        results("CREATE TABLE kept (a Int8) ORDER BY a")
        with ThreadPoolExecutor(1) as pool:
            lost = pool.submit(engine.run, "INSERT INTO kept VALUES (7); SELECT sleep(3)", 60)
            until(lambda: results("SELECT a FROM kept")[0]["row_count"])
            for process in processes_of(psutil.Process()):
                process.kill()
            assert lost.result().error == "The ClickHouse process has ended with -9"
        assert results("SELECT a FROM kept")[0]["result_rows"] == [["7"]]

    def test_a_fork_that_ends_leaves_its_tables(self):
        code = (
            "import os, sys\n"
            "from airflow_provider_roe.testing.clickhouse import ClickHouse\n"
            "engine = ClickHouse()\n"
            "if not (child := os.fork()):\n"
            "    sys.exit()\n"
            "os.waitpid(child, 0)\n"
            "print(os.path.exists(engine._directory))\n"
        )
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert ran.stdout == "True\n"

    def test_it_is_killed_where_a_query_takes_off_its_limit(self, error, results):
        told = error(
            "SELECT count() FROM numbers(1000000000000) SETTINGS max_execution_time = 0", seconds=0.2
        )
        assert told.startswith("Timeout exceeded: ")
        assert results("SELECT 1")[0]["result_rows"] == [["1"]]

    def test_it_lives_and_dies_with_the_simulator_whose_rows_outlive_an_outage(self, until):
        others = processes_of(psutil.Process())
        with RoeSimulator(engine="clickhouse", plan=AT_ONCE) as roe:
            [process] = set(processes_of(psutil.Process())) - set(others)
            created = roe.queries[
                roe.submit("CREATE TABLE mine (a Int8) ORDER BY a; INSERT INTO mine VALUES (7)")
            ]
            assert created.outcome.result().error is None
            roe.stop()
            assert not process.is_running()
            roe.start()
            found = roe.queries[roe.submit("SELECT a FROM mine")].outcome.result()
            assert found.results[0]["result_rows"] == [["7"]]
        assert processes_of(psutil.Process()) == others

    def test_it_and_its_files_are_gone_where_the_simulator_is_killed(self, tmp_path, until):
        code = (
            "import time\n"
            "from airflow_provider_roe.testing import RoeSimulator\n"
            "roe = RoeSimulator(engine='clickhouse')\n"
            "roe.start()\n"
            "roe.queries[roe.submit('SELECT 1')].outcome.result()\n"
            "roe.submit('SELECT sleep(3) SETTINGS max_execution_time = 0')\n"
            "print('ready', flush=True)\n"
            "time.sleep(600)\n"
        )
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        with subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment
        ) as simulator:
            assert simulator.stdout.readline() == b"ready\n"
            [process] = processes_of(psutil.Process(simulator.pid))
            assert list(tmp_path.iterdir())
            simulator.kill()
        until(lambda: not process.is_running())
        assert list(tmp_path.iterdir()) == []


class TestTheSimulator:
    @pytest.mark.parametrize("module", ["chdb", "clickhouse_connect"])
    def test_names_the_extra_that_is_missing(self, monkeypatch, module):
        monkeypatch.setattr(
            clickhouse, "find_spec", {"chdb", "clickhouse_connect"}.difference({module}).__contains__
        )
        with pytest.raises(
            ModuleNotFoundError, match=rf"{module}: install airflow-provider-roe\[clickhouse\]"
        ):
            RoeSimulator(engine="clickhouse")

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.com", ""])
    def test_serves_clickhouse_on_loopback_alone(self, host):
        with pytest.raises(
            ValueError, match=r"^host must be a loopback address, not '.*': ClickHouse has no sandbox"
        ):
            RoeSimulator(host, engine="clickhouse")

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
    def test_takes_any_loopback_address(self, host):
        RoeSimulator(host, engine="clickhouse")

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"engine": "duckdb"}, "engine must be sqlite or clickhouse, not 'duckdb'"),
            ({"cells": "json"}, "cells must be client or text, not 'json'"),
        ],
    )
    def test_refuses_other_engines_and_cells(self, settings, message):
        with pytest.raises(ValueError, match=message):
            RoeSimulator(**settings)

    @pytest.mark.parametrize(("cells", "null"), [("client", None), ("text", "ᴺᵁᴸᴸ")])
    def test_writes_cells_as_it_is_told(self, cells, null):
        with RoeSimulator(engine="sqlite", cells=cells) as roe:
            result = roe.queries[roe.submit("SELECT NULL")].outcome.result().results[0]
        assert result["result_rows"] == [[null]]

    def test_loads_nothing_of_clickhouse(self):
        code = (
            "import sys\n"
            "from airflow_provider_roe.testing import RoeSimulator\n"
            "RoeSimulator(engine='clickhouse')\n"
            "print(*{name.partition('.')[0] for name in sys.modules})\n"
        )
        loaded = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        assert not {"chdb", "clickhouse_connect", "pandas", "pyarrow"} & set(loaded.split())
