"""
Cells of a real ClickHouse, read in each form in which they may come, through everything that hands them on.

``clickhouse_cells.jsonl`` has for each the SQL that made it, its type and text as ClickHouse writes them; the
type as clickhouse-connect names it, the ``str()`` of what it reads (null for NULL), and the ``repr`` of that.
"""

from __future__ import annotations

import datetime
import json
import math
import zoneinfo
from collections import defaultdict
from dataclasses import replace
from decimal import Decimal
from functools import cache
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_roe.exceptions import RoeError
from airflow_provider_roe.results import casts, files, frames
from airflow_provider_roe.results.clickhouse import column_type
from airflow_provider_roe.results.columns import dicts, schema
from airflow_provider_roe.results.rows import rows
from tests.unit.results.answers import body, read, statement

CELLS = [
    json.loads(line)
    for line in Path(__file__).with_name("clickhouse_cells.jsonl").read_text(encoding="utf-8").splitlines()
]
NAMES = {
    "datetime": datetime,
    "zoneinfo": zoneinfo,
    "Decimal": Decimal,
    "UUID": UUID,
    "IPv4Address": IPv4Address,
    "IPv6Address": IPv6Address,
    "nan": math.nan,
    "inf": math.inf,
}
FORMS = ("clickhouse", "client", "json")
each_form = pytest.mark.parametrize("form", FORMS)

# ClickHouse's text of an hour that comes twice does not tell which is meant.
TWICE = ("2024-10-27 02:30:00", "2024-11-03 01:30:00", "2021-01-31 23:30:00")
NO_UTF8 = ("unhex('fffe0080')", "00112233445566778899aabbccddeeff")


def value_of(cell: dict[str, Any]) -> Any:
    return eval(cell["value"], NAMES)


def natural(value: Any) -> Any:
    """Give a value as JSON of its natural type, and as Python's text where JSON has none."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case list() | tuple():
            return list(map(natural, value))
        case dict():
            return {
                key if isinstance(key, str | int | float) else str(key): natural(item)
                for key, item in value.items()
            }
        case bytes():
            return value.decode(errors="replace")
    return str(value)


def type_and_cell(cell: dict[str, Any], form: str) -> tuple[str, Any]:
    match form:
        case "clickhouse":
            return cell["type"], cell["text"]
        case "client":
            return cell["client_type"], cell["client_text"]
    return cell["type"], natural(value_of(cell))


def is_refused(cell: dict[str, Any], form: str) -> bool:
    """Whether the cell does not tell what it holds, so that it is an error."""
    zoned = "Berlin" in cell["type"] or "York" in cell["type"] or "Juba" in cell["type"]
    if form == "clickhouse" and zoned and any(time in cell["text"] for time in TWICE):
        return True
    return cell["type"].startswith("FixedString") and "\N{REPLACEMENT CHARACTER}" in cell["text"]


# What Arrow can hold, and a dict, or JSON's object, cannot: a key that comes twice.
TWO_OF_A_KEY = {
    "{'k':'v','k':'w'}": [("k", "v"), ("k", "w")],
    "{-0:1,0:2}": [(-0.0, 1), (0.0, 2)],
    "{nan:1,nan:2}": [(math.nan, 1), (math.nan, 2)],
    "{nan: 1, nan: 2}": [(math.nan, 1), (math.nan, 2)],
}


def has_key_twice(cell: dict[str, Any], form: str) -> bool:
    sent = type_and_cell(cell, form)[1]
    return isinstance(sent, str) and sent in TWO_OF_A_KEY


def is_beyond_arrow(cell: dict[str, Any]) -> bool:
    """Whether a time is finer than microseconds, and later than nanoseconds reach in 64 bits."""
    return cell["text"].startswith("2299-12-31") and "64(7)" in cell["type"] + cell["type"].replace("8", "7")


def expected(cell: dict[str, Any], form: str) -> Any:
    """Give what a cell is read to."""
    type_, sent = type_and_cell(cell, form)
    value = value_of(cell)
    if "JSON" in type_ or any(word in type_ for word in ("Variant", "Dynamic", "Geometry")):
        if value is None or (isinstance(sent, str) and "JSON" not in type_):
            return None if value is None else sent  # which type it is of, the text does not say
        text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
        return text.replace("'", '"')
    if form == "clickhouse" and "Nullable(String)" in type_ and sent in ("\\N", "ᴺᵁᴸᴸ"):
        return None  # ClickHouse's texts do not tell these strings from NULL
    if isinstance(value, str) and form != "json":
        return sent  # of what is no UTF-8, neither has the value
    if form == "clickhouse" and sent == "['\N{REPLACEMENT CHARACTER}']":
        return ["\N{REPLACEMENT CHARACTER}"]  # the same, within a list
    if has_key_twice(cell, form):
        return TWO_OF_A_KEY[sent]
    return plain_types(value)


def plain_types(value: Any) -> Any:
    match value:
        case UUID() | IPv4Address() | IPv6Address():
            return str(value)
        case bytes():
            return value.decode()
        case list():
            return list(map(plain_types, value))
        case tuple():
            return tuple(map(plain_types, value))
        case dict():
            return {plain_types(key): plain_types(item) for key, item in value.items()}
    return value


def same(got: Any, wanted: Any) -> bool:
    """Whether a value is the one that is wanted, whatever holds it: Python, JSON, Arrow, pandas, polars."""
    match wanted:
        case None:
            return (
                got is None or got is pd.NA or got is pd.NaT or (isinstance(got, float) and math.isnan(got))
            )
        case bool():
            return bool(got) is wanted and not isinstance(got, str)
        case float() if math.isnan(wanted):
            return math.isnan(float(got))
        case float():
            return float(got) == wanted and math.copysign(1, float(got)) == math.copysign(1, wanted)
        case int() | Decimal():
            return not isinstance(got, float) and type(wanted)(str(got)) == wanted
        case str() if isinstance(got, str) and ":" in wanted:
            return got == wanted or IPv6Address(got) == IPv6Address(wanted)
        case datetime.datetime():
            return same_time(got, wanted)
        case datetime.date():
            return str(got)[:10] == wanted.isoformat()
        case datetime.timedelta():
            return same_span(got, wanted)
        case list() if wanted and isinstance(wanted[0], tuple) and not isinstance(got, str):
            return same_pairs(got, wanted) or same_list(got, wanted)
        case list():
            return same_list(list(got), wanted)
        case tuple():
            return same_list(list(got.values()) if isinstance(got, dict) else list(got), list(wanted))
        case dict() if isinstance(got, dict) and same_list(list(got.values()), list(wanted.values())):
            return all(map(same_key, got, wanted))
        case dict():
            return same_pairs(got, list(wanted.items()))
    return bool(got == wanted)


def same_list(got: Any, wanted: list[Any]) -> bool:
    return len(got) == len(wanted) and all(map(same, got, wanted))


def same_pairs(got: Any, wanted: list[Any]) -> bool:
    """Compare a map as pairs: of Arrow and pandas tuples, of polars dicts."""
    if isinstance(got, dict):
        got = got.items()
    pairs = [tuple(pair.values()) if isinstance(pair, dict) else pair for pair in got]
    return len(pairs) == len(wanted) and all(
        len(pair) == 2 and same_key(pair[0], key) and same(pair[1], item)
        for pair, (key, item) in zip(pairs, wanted, strict=True)
    )


def same_key(got: Any, wanted: Any) -> bool:
    """Compare a key, which is text in JSON."""
    if not isinstance(got, str) or isinstance(wanted, str | float | Decimal | datetime.date):
        return same(got, wanted)
    return same(json.loads(got), wanted)


def same_time(got: Any, wanted: datetime.datetime) -> bool:
    """Compare a time to the microsecond, which is as much as Python's values tell."""
    if isinstance(got, str):
        got = datetime.datetime.fromisoformat(got[:26] + got[29:] if len(got) == 35 else got)
    if isinstance(got, pd.Timestamp):
        got = got.tz_convert("UTC").floor("us").to_pydatetime()
    # In another zone, Python takes no time for the same that clocks show twice.
    return bool(got.astimezone(datetime.UTC) == wanted.astimezone(datetime.UTC))


def same_span(got: Any, wanted: datetime.timedelta) -> bool:
    if isinstance(got, str):
        hours, minutes, seconds = got.lstrip("-").split(":")
        span = datetime.timedelta(hours=int(hours), minutes=int(minutes), seconds=float(seconds))
        got = -span if got.startswith("-") else span
    return bool(got == wanted)


@cache
def by_type(form: str, arrow: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Give the cells that are read in a form: those that Arrow can hold, or those that Python can."""
    found = defaultdict(list)
    for cell in CELLS:
        too_much = is_beyond_arrow(cell) if arrow else has_key_twice(cell, form)
        if not too_much and not is_refused(cell, form):
            found[type_and_cell(cell, form)[0]].append(cell)
    return found


def answer(type_: str, cells: list[dict[str, Any]], form: str) -> Any:
    """Give an answer with the cells as its only column; beside one in which NULL comes as the form has it."""
    null = "\\N" if form == "clickhouse" else None
    return read(
        body(
            statement(c=(type_, [type_and_cell(cell, form)[1] for cell in cells])),
            statement(n=("Nullable(Int8)", [null])),
        )
    )


def wrong(form: str, hand_on: Any, *, arrow: bool = False) -> list[Any]:
    """Hand on all cells; return what did not arrive as it is."""
    found = []
    for type_, cells in by_type(form, arrow).items():
        got = hand_on(answer(type_, cells, form))
        assert len(got) == len(cells)
        for cell, value in zip(cells, got, strict=True):
            wanted = expected(cell, form)
            if not same(value, wanted):
                found.append((type_, type_and_cell(cell, form)[1], value, wanted))
    return found


def plain(result: Any) -> list[Any]:
    """Give the plain values, also those with a NUL, which rows for an XCom must not have."""
    statement_, batches = next(result.batches())
    return [row["c"] for part in dicts(statement_, batches) for row in part]


class TestEachForm:
    @each_form
    def test_values(self, form):
        def hand_on(result: Any) -> list[Any]:
            return [row["c"] for row in rows(result, form="value")[0]]

        assert wrong(form, hand_on) == []

    @each_form
    def test_plain_values(self, form):
        def hand_on(result: Any) -> list[Any]:
            found = plain(result)
            assert json.loads(json.dumps(found, allow_nan=False)) == found
            return found

        assert wrong(form, hand_on) == []

    @each_form
    def test_json_lines(self, form, tmp_path):
        def hand_on(result: Any) -> list[Any]:
            [file, _] = files.write(result, files.check_output(f"{tmp_path}/rows.jsonl"))
            lines = Path(file["path"].removeprefix("file://")).read_text(encoding="utf-8").split("\n")
            found = [json.loads(line)["c"] for line in lines[:-1]]
            assert found == plain(result)
            return found

        assert wrong(form, hand_on) == []

    @each_form
    def test_parquet(self, form, tmp_path):
        def hand_on(result: Any) -> list[Any]:
            [file, _] = files.write(result, files.check_output(f"{tmp_path}/rows.parquet"))
            column = pq.read_table(file["path"].removeprefix("file://"))["c"]
            assert column.type == as_parquet_has_it(schema(result.statements[0]).field(0).type)
            return list(column.to_pylist())

        assert wrong(form, hand_on, arrow=True) == []

    @each_form
    @pytest.mark.parametrize("df_type", ["pandas", "polars"])
    def test_frames(self, form, df_type):
        make = frames.frame_maker(df_type)

        def hand_on(result: Any) -> list[Any]:
            column = make(*frames.last_tables(replace(result, statements=result.statements[:1])))["c"]
            return list(column.to_list() if df_type == "pandas" else column.to_arrow().to_pylist())

        assert wrong(form, hand_on, arrow=True) == []

    @each_form
    def test_csv_is_what_was_sent(self, form, tmp_path):
        for type_, cells in by_type(form).items():
            sent = [type_and_cell(cell, form)[1] for cell in cells]
            if not all(isinstance(cell, str) and cell not in ("", "\\N", "ᴺᵁᴸᴸ") for cell in sent):
                continue
            [file, _] = files.write(answer(type_, cells, form), files.check_output(f"{tmp_path}/rows.csv"))
            text = Path(file["path"].removeprefix("file://")).read_bytes().decode()
            fields = [
                '"' + cell.replace('"', '""') + '"' if set(cell) & set('",\r\n') else cell for cell in sent
            ]
            assert text == "".join(f"{field}\n" for field in ["c", *fields])


def as_parquet_has_it(type_: pa.DataType) -> pa.DataType:
    """Give the type that a file is read back with: Parquet has no seconds."""
    if pa.types.is_timestamp(type_) and type_.unit == "s":
        return pa.timestamp("ms", type_.tz)
    if pa.types.is_list(type_):
        return pa.list_(as_parquet_has_it(type_.value_type))
    if pa.types.is_map(type_):
        return pa.map_(as_parquet_has_it(type_.key_type), as_parquet_has_it(type_.item_type))
    if pa.types.is_struct(type_):
        return pa.struct([(field.name, as_parquet_has_it(field.type)) for field in type_])
    return type_


class TestRefused:
    @pytest.mark.parametrize(
        ("form", "cell"),
        [(form, cell) for form in FORMS for cell in CELLS if is_refused(cell, form)],
        ids=lambda value: value if isinstance(value, str) else value["sql"][:60],
    )
    def test_what_does_not_tell_its_value_is_refused_with_advice(self, form, cell):
        type_, _ = type_and_cell(cell, form)
        advice = "hex(column)" if type_.startswith("FixedString") else "toTimeZone(column, 'UTC')"
        with pytest.raises(RoeError, match="Statement 1, row 1, column c: ") as e:
            rows(answer(type_, [cell], form), form="value")
        assert advice in str(e.value)

    @pytest.mark.parametrize(
        "cell", [cell for cell in CELLS if is_beyond_arrow(cell)], ids=lambda c: c["type"]
    )
    def test_a_time_that_nanoseconds_do_not_reach_is_refused_where_arrow_has_no_other(self, cell):
        result = answer(cell["type"], [cell], "clickhouse")
        with pytest.raises(RoeError, match="Statement 1, row 1, column c: "):
            list(frames.last_tables(replace(result, statements=result.statements[:1])))

    @pytest.mark.parametrize(
        ("type_", "text", "form"),
        [
            ("Map(String, String)", "{'k':'v','k':'w'}", "value"),
            ("Map(String, String)", "{'k':'v','k':'w'}", "plain"),
            ("Map(Float64, UInt8)", "{-0:1,0:2}", "value"),
            ("Map(Float64, UInt8)", "{nan:1,nan:2}", "plain"),
        ],
    )
    def test_a_key_that_comes_twice_is_refused_where_a_dict_would_forget_one(self, type_, text, form):
        with pytest.raises(RoeError, match="Statement 1, row 1, column c: "):
            rows(read(body(statement(c=(type_, [text])))), form=form)


def exactly(array: pa.Array) -> str:
    """Give an array's type and all that it holds: of times the number, as Python's are not as fine."""
    return f"{array.type} {array.cast(pa.int64()) if pa.types.is_timestamp(array.type) else array}"


BORDERS = """0000-01-01|0001-01-01|9999-12-31|10000-01-01|0000-01-01 00:00:00|0000-01-01 00:00:00+00:00
0001-01-01 00:00:00+00:00|9999-12-31 23:59:59+00:00|9999-12-31 23:59:59|1971-07-01 12:00:00
2024-01-01 23:59:60|2024-01-01 00:00:00.5|2024-01-01 00:00:00.50+00:00|2024-01-01T00:00:00
2024-01-01 00:00:00+05:30|2024-01-01 00:00|+1| 1|1 |01|-0|-00.5|1.|.5|1e5|1E5|1e400|1e-400|-nan
Infinity|NaN|0x1|1_0|3.4028236e38|1e39|99999.99999|1.2.3.4.|01.2.3.4|1.2.3|TRUE|t
['x',', ','y']|['x', ',', 'y']|['x',', ', 'y']|['a' ,'b']|['a',]|[1,]|[ 1]|[1 ,2]|[+1]|[-]
["a","b"]|['it''s']|['a\\tb']|['\xff']|[NULL]|['NULL',NULL]|[[1],[]]|[]x| []|['\x01','\x02']
7D9C3B1E-52F4-4A8D-9E60-1B7F2C4D8A35|""".replace("\n", "|").split("|")


class TestFastWay:
    """What is cast at once is what the type's own reader makes of each cell."""

    @pytest.mark.parametrize("type_", sorted({cell["type"] for cell in CELLS}))
    def test_any_text_is_the_same_or_left_to_the_reader(self, type_):
        reader = column_type(type_)
        texts = {cell[key] for cell in CELLS for key in ("text", "client_text") if cell[key] is not None}
        texts |= set(BORDERS)
        for text in texts:
            array = casts.strings(reader, [text])
            arrow, encoded = casts.arrow(reader, array), casts.json_texts(reader, array)
            if arrow is not None:
                assert len(array) == 1
                assert exactly(arrow) == exactly(pa.array([reader.stored(text)], reader.arrow()))
            if encoded is not None:
                assert encoded.to_pylist() == [json.dumps(reader.plain(text), ensure_ascii=False)]

    @pytest.mark.parametrize(
        ("type_", "texts"),
        [
            ("UInt64", ["0", "18446744073709551615"]),
            ("Nullable(Int8)", ["-128", "\\N", "NULL"]),
            ("Int256", ["-5", "0"]),
            ("Float64", ["1.5", "1e-7", "nan", "-inf"]),
            ("Float32", ["0.1"]),
            ("Decimal(18, 4)", ["1.5", "-0.0001", "100"]),
            ("Decimal(76, 4)", ["1.5", "-0.0001", "100"]),
            ("Bool", ["true", "false"]),
            ("Bool", ["True", "False"]),
            ("Date", ["2024-02-29"]),
            ("DateTime", ["2024-04-29 21:11:17"]),
            ("DateTime", ["2024-04-29 21:11:17+00:00"]),
            ("DateTime('Europe/Berlin')", ["2024-04-29 21:11:17"]),
            ("DateTime64(3)", ["2024-04-29 21:11:17.120"]),
            ("DateTime64(3)", ["2024-04-29 21:11:17.120000+00:00", "2024-01-01 00:00:00+00:00"]),
            ("DateTime64(9)", ["2024-04-29 21:11:17.123456789"]),
            ("Nullable(String)", ["x", 'a "quoted" \\', "\n", "\\N"]),
            ("FixedString(2)", ["ab"]),
            ("UUID", ["7d9c3b1e-52f4-4a8d-9e60-1b7f2c4d8a35"]),
            ("IPv4", ["10.0.0.255"]),
            ("Array(Int64)", ["[]", "[1,-2]"]),
            ("Array(Int64)", ["[]", "[1, -2]"]),
            ("Array(Nullable(Bool))", ["[true,NULL]", "[True, None]"]),
            ("Array(String)", ["['a','it\\'s','\\\\']", "[]", "['']", "['x',', ','y']", "[',']"]),
            ("Array(String)", ["['a', 'b']", "[]", "['']", "['x', ',', ', ', '']"]),
            ("Array(DateTime)", ["['2024-04-29 21:11:17']"]),
        ],
    )
    def test_a_column_of_ordinary_cells_is_cast_at_once(self, type_, texts):
        reader = column_type(type_)
        array = casts.strings(reader, texts)
        assert exactly(casts.arrow(reader, array)) == exactly(
            pa.array([reader.stored(text) for text in texts], reader.arrow())
        )
        assert casts.json_texts(reader, array).to_pylist() == [
            json.dumps(reader.plain(text), ensure_ascii=False) for text in texts
        ]
