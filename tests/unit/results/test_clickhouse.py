from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_roe.results.clickhouse import column_type

BERLIN = ZoneInfo("Europe/Berlin")

# Type, cell, the value in Python, and in JSON where that is another.
VALUES: list[tuple[Any, ...]] = [
    ("Int8", "-128", -128),
    ("UInt8", "255", 255),
    ("UInt64", "18446744073709551615", 2**64 - 1),
    ("Int128", str(-(2**127)), -(2**127), str(-(2**127))),
    ("UInt256", str(2**256 - 1), 2**256 - 1, str(2**256 - 1)),
    ("Float64", "0.1", 0.1),
    ("Float64", "-1.5e-7", -1.5e-7),
    ("Float64", "1e+20", 1e20),
    ("Float32", "-0", -0.0),
    ("Float64", "inf", math.inf, "inf"),
    ("Float64", "-inf", -math.inf, "-inf"),
    ("Decimal(10, 2)", "-12345678.90", Decimal("-12345678.90"), "-12345678.90"),
    ("Decimal(10, 2)", "1.5", Decimal("1.5"), "1.5"),
    ("Decimal(10, 8)", "0.00000001", Decimal("0.00000001"), "0.00000001"),
    ("Decimal64(4)", "99999999999999.9999", Decimal("99999999999999.9999"), "99999999999999.9999"),
    ("Decimal(76, 0)", "9" * 76, Decimal("9" * 76), "9" * 76),
    ("Bool", "true", True),
    ("Bool", "False", False),
    ("Bool", "1", True),
    ("Date", "2026-03-01", date(2026, 3, 1), "2026-03-01"),
    ("Date32", "2299-12-31", date(2299, 12, 31), "2299-12-31"),
    ("DateTime", "2024-04-29 21:11:17+00:00", datetime(2024, 4, 29, 21, 11, 17, tzinfo=UTC),
     "2024-04-29T21:11:17+00:00"),  # the one example that Roe documents
    ("DateTime", "2026-03-01 10:00:00", datetime(2026, 3, 1, 10, tzinfo=UTC), "2026-03-01T10:00:00+00:00"),
    ("DateTime", "2026-03-01T10:00:00Z", datetime(2026, 3, 1, 10, tzinfo=UTC), "2026-03-01T10:00:00+00:00"),
    ("DateTime", "2026-03-01 10:00:00+01:00", datetime(2026, 3, 1, 9, tzinfo=UTC),
     "2026-03-01T09:00:00+00:00"),
    ("DateTime('UTC')", "2026-03-01 10:00:00", datetime(2026, 3, 1, 10, tzinfo=ZoneInfo("UTC")),
     "2026-03-01T10:00:00+00:00"),
    (
        "DateTime('Europe/Berlin')",
        "2026-07-01 10:00:00",
        datetime(2026, 7, 1, 10, tzinfo=BERLIN),
        "2026-07-01T10:00:00+02:00",
    ),
    (
        "DateTime('Europe/Berlin')",
        "2026-10-25 01:30:00+00:00",
        datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN),
        "2026-10-25T02:30:00+01:00",
    ),
    (
        "DateTime64(3)",
        "2026-03-01 10:00:00.120",
        datetime(2026, 3, 1, 10, 0, 0, 120_000, tzinfo=UTC),
        "2026-03-01T10:00:00.120+00:00",
    ),
    (
        "DateTime64(6, 'UTC')",
        "1900-01-01 00:00:00.000001",
        datetime(1900, 1, 1, 0, 0, 0, 1, tzinfo=ZoneInfo("UTC")),
        "1900-01-01T00:00:00.000001+00:00",
    ),
    ("DateTime64(9)", "2026-03-01 10:00:00.123456789", "2026-03-01T10:00:00.123456789+00:00"),
    ("DateTime64(7, 'Europe/Berlin')", "2026-03-01 10:00:00.1234567", "2026-03-01T10:00:00.123456700+01:00"),
    ("String", "", ""),
    ("String", "\\N", "\\N"),
    ("String", "it's a\ttab \\t", "it's a\ttab \\t"),
    ("FixedString(4)", "ab\0\0", "ab\0\0"),
    ("Enum8('a' = 1, 'b, c)' = -2)", "b, c)", "b, c)"),
    ("UUID", "7D9C3B1E-52f4-4a8d-9e60-1b7f2c4d8a35", "7d9c3b1e-52f4-4a8d-9e60-1b7f2c4d8a35"),
    ("IPv4", "10.0.0.1", "10.0.0.1"),
    ("IPv6", "::1", "::1"),
    ("LowCardinality(String)", "x", "x"),
    ("LowCardinality(Nullable(String))", "\\N", None),
    ("Nullable(Int64)", "7", 7),
    ("Nullable(Int64)", "\\N", None),
    ("Nullable(Int64)", "NULL", None),
    ("Nullable(Int64)", "ᴺᵁᴸᴸ", None),
    ("Nullable(DateTime)", "None", None),
    ("Nullable(String)", "\\N", None),
    ("Nullable(String)", "ᴺᵁᴸᴸ", None),
    ("Nullable(String)", "NULL", "NULL"),
    ("Nullable(String)", "None", "None"),
    ("Int64", None, None),
    ("Array(Int64)", None, None),
    ("Array(UInt8)", "[]", []),
    ("Array(UInt8)", "[1,2]", [1, 2]),
    ("Array(UInt8)", " [ 1 , 2 ] ", [1, 2]),
    ("Array(String)", "['a','b']", ["a", "b"]),
    ("Array(String)", "['a', \"it's\"]", ["a", "it's"]),
    ("Array(String)", r"['\'','\\','a\tb\nc\0','],[','']", ["'", "\\", "a\tb\nc\0", "],[", ""]),
    ("Array(Nullable(String))", "['NULL',NULL,None]", ["NULL", None, None]),
    ("Array(Array(Date))", "[['2026-03-01'],[]]", [[date(2026, 3, 1)], []], [["2026-03-01"], []]),
    ("Array(Bool)", "[true,False]", [True, False]),
    ("Array(Decimal(38, 3))", "[1.5]", [Decimal("1.5")], ["1.5"]),
    ("Array(UInt256)", "[7]", [7], ["7"]),
    ("Tuple(UInt8, String)", "(1,'x')", (1, "x"), [1, "x"]),
    ("Tuple(UInt8)", "(1)", (1,), [1]),
    ("Tuple(UInt8)", "(1,)", (1,), [1]),
    ("Tuple(a UInt8, `b c` Tuple(d Date))", "(1,('2026-03-01'))", {"a": 1, "b c": {"d": date(2026, 3, 1)}},
     {"a": 1, "b c": {"d": "2026-03-01"}}),
    ("Map(String, UInt8)", "{'k':1,'l':2}", {"k": 1, "l": 2}),
    ("Map(String, UInt8)", "{'k': 1}", {"k": 1}),
    ("Map(LowCardinality(String), Array(Nullable(Int8)))", "{'k':[1,NULL]}", {"k": [1, None]}),
    ("Map(UInt8, Bool)", "{1:true}", {1: True}, {"1": True}),
    ("Map(Tuple(UInt8, String), Bool)", "{(1,'x'):true}", {(1, "x"): True}, {'[1, "x"]': True}),
    ("Map(Date, String)", "{'2026-03-01':'x'}", {date(2026, 3, 1): "x"}, {"2026-03-01": "x"}),
    # As Python writes what clickhouse-connect reads
    ("Decimal(18, 8)", "0E-8", Decimal("0E-8"), "0.00000000"),
    ("Float64", "1e-07", 1e-7),
    ("Float64", "100000.0", 100000.0),
    ("Nullable(DateTime64(3))", "2026-03-01 10:00:00.120000+00:00",
     datetime(2026, 3, 1, 10, 0, 0, 120_000, tzinfo=UTC), "2026-03-01T10:00:00.120+00:00"),
    ("FixedString(4)", r"b'ab\x00\x00'", "ab\0\0"),
    ("FixedString(3)", 'b"it\'"', "it'"),
    ("Array(String)", r"""['x\xa0y\u200b\U0001f600', "it's", '\\', '\'"']""",
     ["x\xa0y\u200b\U0001f600", "it's", "\\", "'\""]),
    ("Array(Date)", "[datetime.date(2026, 3, 1)]", [date(2026, 3, 1)], ["2026-03-01"]),
    ("Array(Nullable(Decimal(9, 2)))", "[Decimal('1.50'), None]", [Decimal("1.50"), None], ["1.50", None]),
    ("Array(DateTime)", "[datetime.datetime(2026, 3, 1, 10, 0)]", [datetime(2026, 3, 1, 10, tzinfo=UTC)],
     ["2026-03-01T10:00:00+00:00"]),
    ("Array(DateTime)", "[datetime.datetime(2026, 3, 1, 10, 0, 5, tzinfo=datetime.timezone.utc)]",
     [datetime(2026, 3, 1, 10, 0, 5, tzinfo=UTC)], ["2026-03-01T10:00:05+00:00"]),
    ("Array(DateTime)", "[datetime.datetime(2026, 3, 1, 10, 0, tzinfo=<UTC>)]",
     [datetime(2026, 3, 1, 10, tzinfo=UTC)], ["2026-03-01T10:00:00+00:00"]),
    ("Array(DateTime)",
     "[datetime.datetime(2026, 3, 1, 10, 0, tzinfo=datetime.timezone(datetime.timedelta(seconds=3600)))]",
     [datetime(2026, 3, 1, 9, tzinfo=UTC)], ["2026-03-01T09:00:00+00:00"]),
    ("Array(DateTime('Europe/Berlin'))",
     "[datetime.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo(key='Europe/Berlin'))]",
     [datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN)], ["2026-10-25T02:30:00+01:00"]),
    ("Array(Time64(3))",
     "[datetime.timedelta(days=-1, seconds=86399, microseconds=500000), datetime.timedelta(0)]",
     [timedelta(milliseconds=-500), timedelta(0)], ["-00:00:00.500", "00:00:00.000"]),
    ("Array(UUID)", "[UUID('7D9C3B1E-52f4-4a8d-9e60-1b7f2c4d8a35')]",
     ["7d9c3b1e-52f4-4a8d-9e60-1b7f2c4d8a35"]),
    ("Tuple(IPv4, IPv6)", "(IPv4Address('10.0.0.1'), IPv6Address('::1'))", ("10.0.0.1", "::1"),
     ["10.0.0.1", "::1"]),
    ("Tuple(a UInt8, b Nested(c String))", "{'a': 1, 'b': [{'c': 'x'}]}", {"a": 1, "b": [{"c": "x"}]}),
    ("Tuple(b UInt8, a UInt8)", "{'a': 1, 'b': 2}", {"b": 2, "a": 1}),
    ("Map(FixedString(2), Array(Bool))", "{b'ab': [True]}", {"ab": [True]}),
    # As JSON of its natural type, in which a number is the bytes of its text
    ("UInt64", b"18446744073709551615", 2**64 - 1),
    ("Float64", b"1.5", 1.5),
    ("Float64", b"Infinity", math.inf, "inf"),
    ("Decimal(18, 4)", b"99999999999999.9999", Decimal("99999999999999.9999"), "99999999999999.9999"),
    ("Bool", True, True),
    ("Array(Nullable(Int64))", [b"1", None, "2"], [1, None, 2]),
    ("Array(String)", ["it's", "['a']", "\\N"], ["it's", "['a']", "\\N"]),
    ("Array(Array(DateTime))", [["2026-03-01T10:00:00Z"]], [[datetime(2026, 3, 1, 10, tzinfo=UTC)]],
     [["2026-03-01T10:00:00+00:00"]]),
    ("Tuple(UInt8, String)", [b"1", "x"], (1, "x"), [1, "x"]),
    ("Tuple(a UInt8, b String)", {"b": "x", "a": b"1"}, {"a": 1, "b": "x"}),
    ("Tuple(a UInt8, b String)", [b"1", "x"], {"a": 1, "b": "x"}),
    ("Map(UInt8, String)", {"1": "x"}, {1: "x"}, {"1": "x"}),
    ("Map(String, UInt8)", [["k", b"1"]], {"k": 1}),
    ("JSON", {"a": [b"1.50", None, True, {"b": "\u00e9"}]}, '{"a":[1.50,null,true,{"b":"\u00e9"}]}'),
    ("Dynamic", [b"1"], "[1]"),
    ("Foo", {"a": b"1"}, '{"a":1}'),
    # Types that are others under another name
    ("SimpleAggregateFunction(sum, UInt64)", "5", 5),
    ("SimpleAggregateFunction(groupArrayArray(10), Array(UInt8))", "[1]", [1]),
    ("Nested(a UInt8, `b c` String)", "[(1,'x')]", [{"a": 1, "b c": "x"}]),
    ("Point", "(1.5,2)", (1.5, 2.0), [1.5, 2.0]),
    ("Ring", "[(1.5, 2.0)]", [(1.5, 2.0)], [[1.5, 2.0]]),
    ("MultiPolygon", "[[[(1,2)]]]", [[[(1.0, 2.0)]]], [[[[1.0, 2.0]]]]),
    ("IntervalDay", "-5", -5),
    ("QBit(Float32, 2)", "[1,2]", [1.0, 2.0]),
    ("Tuple()", "()", (), []),
    ("Array(Nothing)", "[NULL]", [None]),
    ("Time", "-999:59:59", -timedelta(hours=999, minutes=59, seconds=59), "-999:59:59"),
    ("Time", "41 days, 15:59:59", timedelta(hours=999, minutes=59, seconds=59), "999:59:59"),
    ("Time", "-1 day, 23:59:59", timedelta(seconds=-1), "-00:00:01"),
    ("Time64(3)", "00:34:56.120", timedelta(minutes=34, seconds=56, milliseconds=120), "00:34:56.120"),
    ("Time64(9)", "00:00:00.000000001", "00:00:00.000000001"),
    # Numbers of several types, as a UNION of them has
    ("Variant(Float64, UInt64)", "36028797018963968", 2**55),
    ("Variant(Float64, UInt64)", "1.5", 1.5),
    ("Variant(Float64, UInt64)", "inf", math.inf, "inf"),
    ("Variant(Int8, UInt8)", "255", 255),
    ("Variant(Int64, UInt64)", "-1", -1, "-1"),
    ("Variant(Decimal(9, 2), UInt8)", "1.50", Decimal("1.50"), "1.50"),
    ("Variant(Float64, UInt64)", "ᴺᵁᴸᴸ", None),
    ("Array(Variant(Float64, UInt64))", "[1.5,2,NULL]", [1.5, 2, None]),
    # What stays text
    ("Variant(Array(UInt8), String)", "[1,2]", "[1,2]"),
    ("Variant(String, UInt8)", "\\N", None),
    ("Dynamic", "2026-03-01", "2026-03-01"),
    ("Array(Dynamic)", "[1,'x',[2, None]]", ["1", "x", "[2,null]"]),
    ("JSON(a UInt32, SKIP b)", '{"a":1}', '{"a":1}'),
    ("JSON", "{'a': 1, 'b': None, 'c': ['x', True, 1.5, nan]}", '{"a":1,"b":null,"c":["x",true,1.5,"nan"]}'),
    ("JSON", "NULL", None),
    ("Array(JSON)", """[{'a': "it's"}]""", ['{"a":"it\'s"}']),
]  # fmt: skip

UNREADABLE = [
    ("Int8", "128"),
    ("UInt8", "-1"),
    ("UInt256", str(2**256)),
    ("Int64", ""),
    ("Int64", "1_000"),
    ("Int64", " 1"),
    ("Int64", "1.0"),
    ("Int64", "\N{ARABIC-INDIC DIGIT SEVEN}"),
    ("Int64", "NULL"),
    ("Int64", "\\N"),
    ("Float64", "1,5"),
    ("Float64", "1_0"),
    ("Float64", "infinity"),
    ("Decimal(10, 2)", "1.555"),
    ("Decimal(10, 2)", "123456789"),
    ("Decimal(10, 2)", "1e3"),
    ("Decimal(10, 2)", ""),
    ("Decimal(10, 2)", "-"),
    ("Decimal(10, 2)", "nan"),
    ("Bool", "yes"),
    ("Date", "2026-02-30"),
    ("Date", "20260301"),
    ("Date", "2026-W01-1"),
    ("DateTime", "2026-03-01"),
    ("DateTime", "1772359200"),
    ("DateTime", "2026-03-01 10:00:00.5"),
    ("DateTime64(3)", "2026-03-01 10:00:00.1234"),
    ("DateTime('Europe/Berlin')", "2026-10-25 02:30:00"),
    ("DateTime('Europe/Berlin')", "2026-03-29 02:30:00"),
    ("DateTime('Europe/Berlin')", "9999-12-31 23:59:59Z"),
    ("Decimal(10, 2)", b"1e3"),
    ("Time", "24:60:00"),
    ("Time", "1 day, 24:00:00"),
    ("Time", "-1 day, -1:00:00"),
    ("Time64(3)", "00:00:00.0001"),
    ("FixedString(4)", "abcde"),
    ("FixedString(4)", "b'abc'"),
    ("FixedString(1)", r"b'\xff'"),
    ("IPv4", "10.0.0.256"),
    ("IPv6", "10.0.0.1"),
    ("Nothing", "x"),
    ("JSON", "x"),
    ("JSON", ""),
    ("Variant(Float64, UInt64)", "36028797018963970"),  # of the integer, or of the float 36028797018963968
    ("Float32", "1e39"),
    ("UInt8", True),
    ("UInt8", b"1.0"),
    ("UInt8", [b"1"]),
    ("String", b"1"),
    ("String", True),
    ("Date", b"19783"),
    ("Array(UInt8)", [None]),
    ("Array(UInt8)", {"a": b"1"}),
    ("Array(UInt8)", b"1"),
    ("Tuple(a UInt8, b UInt8)", "{'a': 1, 'a': 2}"),
    ("Tuple(a UInt8, b UInt8)", "{'a': 1, 'c': 2}"),
    ("Tuple(a UInt8)", {"a": b"1", "b": b"2"}),
    ("Tuple(UInt8, String)", [b"1"]),
    ("Map(String, UInt8)", [["k"]]),
    ("Array(Date)", "[datetime.date(2026, 2, 30)]"),
    ("Array(Date)", "[date(2026, 2, 3)]"),
    ("Array(DateTime)", "[datetime.datetime(2026, 3, 1, 10, tzinfo=<DstTzInfo 'CET'>)]"),
    ("Time", "1000:00:00"),
    ("Time", "42 days, 0:00:00"),
    ("Time64(9)", f"{'9' * 3000} days, 0:00:00"),
    ("Array(DateTime)", "[datetime.datetime(2024, 1, 1, 0, 0, tzinfo=zoneinfo.ZoneInfo(key='Europe'))]"),
    ("Date", "0000-01-01"),
    ("DateTime", "0000-01-01 00:00:00"),
    ("DateTime", "0000-01-01 00:00:00+00:00"),
    ("DateTime('Europe/Berlin')", "9999-12-31 23:59:59+00:00"),
    ("DateTime('America/New_York')", "0001-01-01 00:00:00+00:00"),
    ("IPv4", "1.2.3.4."),
    ("UUID", "7d9c3b1e"),
    ("UUID", "{7d9c3b1e-52f4-4a8d-9e60-1b7f2c4d8a35}"),
    ("Array(UInt8)", "[1"),
    ("Array(UInt8)", "[1]]"),
    ("Array(UInt8)", "[1 2]"),
    ("Array(UInt8)", "x[1]"),
    ("Array(UInt8)", "[,1]"),
    ("Array(UInt8)", "(1)"),
    ("Array(UInt8)", "[NULL]"),
    ("Array(UInt8)", "[256]"),
    ("Array(UInt8)", ""),
    ("Array(String)", "[a]"),
    ("Array(String)", "['a]"),
    ("Array(String)", r"['\q']"),
    ("Array(String)", "[NULL]"),
    ("Tuple(UInt8, String)", "(1)"),
    ("Tuple(UInt8, String)", "(1,'x',2)"),
    ("Map(String, UInt8)", "{'k'}"),
    ("Map(String, UInt8)", "{'k':1,'k':2}"),
    ("Map(String, UInt8)", "{'k':1 'l':2}"),
]  # fmt: skip

UNKNOWN = [
    "",
    "Foo",
    "AggregateFunction(sum, UInt8)",
    "Int7",
    "String)",
    "Array(",
    "Array(Foo)",
    "Tuple(a UInt8, String)",
    "Tuple(a UInt8, a UInt8)",
    "Map(Array(UInt8), String)",
    "Decimal(77, 0)",
    "Decimal(5, 6)",
    "Decimal(0, 0)",
    "Decimal(a, b)",
    "DateTime('Mars/Olympus')",
    "DateTime('../etc/passwd')",
    "DateTime64",
    "DateTime64(10)",
    "UInt8(3)",
    "Array(UInt8, UInt8)",
    "Array(" * 10_000,
    "Array(" * 101 + "UInt8" + ")" * 101,
    "FixedString",
    "FixedString(999999999)",
    f"FixedString({'9' * 5000})",
    "Map(Nullable(String), UInt8)",
    "Map(LowCardinality(Nullable(String)), UInt8)",
    "Tuple(`a\\q` Int8)",
    "Tuple(`a\\Uffffffff` Int8)",
    "Tuple(`\ud800` Int8)",
    "DateTime('\\Uffffffff')",
    "Tuple((Int8) x, y Int8)",
    "DateTime(())",
    "DateTime64(3, (a))",
    "DateTime64(3,)",
    "Interval(3)",
    "Time64(10)",
    "Variant(String, Foo)",
    "Nested(UInt8, a String)",
    "DateTime64(3, 'UTC', 'UTC')",
    ")",
    "Array()",
    "Map(UInt8)",
]

ARROW = [
    ("Int8", pa.int8()), ("Int64", pa.int64()), ("UInt16", pa.uint16()), ("UInt64", pa.uint64()),
    ("Int128", pa.string()), ("UInt128", pa.string()), ("Int256", pa.string()),
    ("Float32", pa.float32()), ("Float64", pa.float64()), ("Bool", pa.bool_()),
    ("Decimal(38, 4)", pa.decimal128(38, 4)), ("Decimal(39, 4)", pa.string()),
    ("Decimal32(2)", pa.decimal128(9, 2)), ("Date", pa.date32()), ("Date32", pa.date32()),
    ("DateTime", pa.timestamp("s", "UTC")), ("DateTime('UTC')", pa.timestamp("s", "UTC")),
    ("DateTime64(3, 'Europe/Berlin')", pa.timestamp("ms", "Europe/Berlin")),
    ("DateTime64(6)", pa.timestamp("us", "UTC")), ("DateTime64(9)", pa.timestamp("ns", "UTC")),
    ("String", pa.string()), ("FixedString(4)", pa.string()), ("Enum8('a' = 1)", pa.string()),
    ("UUID", pa.string()), ("IPv6", pa.string()), ("JSON", pa.string()),
    ("LowCardinality(Nullable(String))", pa.string()), ("Nullable(Int32)", pa.int32()),
    ("Array(Nullable(Date))", pa.list_(pa.date32())),
    ("Tuple(UInt8, String)", pa.struct([("1", pa.uint8()), ("2", pa.string())])),
    ("Tuple(a UInt8, b Array(String))", pa.struct([("a", pa.uint8()), ("b", pa.list_(pa.string()))])),
    ("Map(String, UInt8)", pa.map_(pa.string(), pa.uint8())),
    ("Point", pa.struct([("1", pa.float64()), ("2", pa.float64())])), ("IntervalDay", pa.int64()),
    ("Time", pa.duration("s")), ("Time64(9)", pa.duration("ns")), ("Nullable(Nothing)", pa.string()),
    ("Tuple()", pa.list_(pa.string())), ("Variant(Float64, UInt64)", pa.float64()),
    ("Variant(Int8, UInt8)", pa.int16()), ("Variant(Int64, UInt64)", pa.string()),
    ("Variant(Decimal(9, 2), UInt8)", pa.decimal128(22, 2)), ("Variant(String, UInt8)", pa.string()),
]  # fmt: skip


class TestValues:
    @pytest.mark.parametrize(("name", "cell", "value", "plain"), [(*row, row[2])[:4] for row in VALUES])
    def test_a_cell_is_read_as_its_type_says(self, name, cell, value, plain):
        type_ = column_type(name)
        assert repr(type_.value(cell)) == repr(value)  # type and all: 1 is not True, a fold counts
        assert type_.plain(cell) == plain
        assert json.loads(json.dumps(type_.plain(cell), allow_nan=False)) == type_.plain(cell)

    @pytest.mark.parametrize(("name", "cell"), UNREADABLE)
    def test_a_cell_that_cannot_be_read_is_an_error_and_no_guess(self, name, cell):
        with pytest.raises(ValueError):  # noqa: PT011 - the caller, who knows row and column, words it
            column_type(name).value(cell)

    def test_not_a_number(self):
        assert math.isnan(column_type("Float64").value("nan"))
        assert column_type("Array(Float32)").plain("[1.5,nan]") == [1.5, "nan"]

    @pytest.mark.parametrize("name", UNKNOWN, ids=lambda name: ascii(name)[:30])
    @pytest.mark.parametrize("cell", ["", "x", "[1]", "NULL", None])
    def test_the_cells_of_an_unknown_type_stay_strings(self, name, cell):
        type_ = column_type(name)
        assert (type_.value(cell), type_.plain(cell), type_.stored(cell), type_.text(cell)) == (cell,) * 4
        assert type_.arrow() == pa.string()

    def test_the_null_of_an_unknown_type_is_null(self):
        assert column_type("Nullable(Foo)").value("\\N") is None
        assert column_type("Foo").value("\\N") == "\\N"


class TestNull:
    @pytest.mark.parametrize(
        "name", ["String", "FixedString(2)", "Enum8('\\\\N' = 1)", "LowCardinality(String)"]
    )
    @pytest.mark.parametrize("cell", ["\\N", "ᴺᵁᴸᴸ"])
    def test_where_null_comes_as_json_has_it_a_string_is_one(self, name, cell):
        name = f"Nullable({name})" if "Low" not in name else "LowCardinality(Nullable(String))"
        assert column_type(name).value(cell) is None
        if "Fixed" not in name:
            assert column_type(name, nulls_in_words=False).value(cell) == cell

    @pytest.mark.parametrize("word", ["\\N", "ᴺᵁᴸᴸ", "NULL", "None"])
    def test_where_no_text_can_be_meant_a_word_is_null_in_any_case(self, word):
        assert column_type("Nullable(Int8)", nulls_in_words=False).value(word) is None


class TestNames:
    def test_a_name_of_any_length_and_depth_is_parsed_in_linear_time(self):
        start = time.process_time()
        for name in (
            "Array(" * 25_000,
            "Tuple(" + "UInt8, " * 25_000 + "UInt8)",
            "Enum8(" + "'a' = 1, " * 20_000,
        ):
            column_type(name)
        assert time.process_time() - start < 20  # the square of it would take minutes

    def test_as_deep_as_is_parsed_is_read(self):
        type_ = column_type("Array(" * 100 + "UInt8" + ")" * 100)
        assert type_.plain("[" * 100 + "1" + "]" * 100) == json.loads("[" * 100 + "1" + "]" * 100)
        assert type_.arrow()


class TestText:
    @pytest.mark.parametrize(
        ("name", "cell", "text"),
        [
            ("Nullable(Int8)", "\\N", None),
            ("Nullable(Int8)", "7", "7"),
            ("Int8", "not a number", "not a number"),
            ("String", "\\N", "\\N"),
            ("Array(UInt8)", "[1, 2]", "[1, 2]"),
        ],
    )
    def test_it_is_the_cell_untouched_but_for_null(self, name, cell, text):
        assert column_type(name).text(cell) == text


class TestArrow:
    @pytest.mark.parametrize(("name", "arrow"), ARROW, ids=lambda value: str(value)[:40])
    def test_each_type_has_its_own(self, name, arrow):
        assert column_type(name).arrow() == arrow

    @pytest.mark.parametrize(("name", "cell"), [row[:2] for row in VALUES])
    def test_arrow_holds_each_value_as_it_is(self, name, cell):
        type_ = column_type(name)
        array = pa.array([type_.stored(cell), None], type_.arrow())
        array.validate(full=True)
        expected = type_.value(cell)
        read = array[0].as_py() if "64(9)" not in name and "64(7" not in name else expected
        assert _same(read, expected)

    @pytest.mark.parametrize(
        ("name", "cell", "nanoseconds"),
        [
            ("DateTime64(9)", "1970-01-01 00:00:01.000000001", 1_000_000_001),
            ("DateTime64(9, 'Europe/Berlin')", "1970-01-01 01:00:00.123456789", 123_456_789),
            ("DateTime64(9)", "1969-12-31 23:59:59.999999999", -1),
        ],
    )
    def test_nanoseconds_are_kept(self, name, cell, nanoseconds):
        type_ = column_type(name)
        assert pa.array([type_.stored(cell)], type_.arrow()).cast(pa.int64()).to_pylist() == [nanoseconds]

    def test_a_time_beyond_what_nanoseconds_reach_is_an_error(self):
        with pytest.raises(ValueError):  # noqa: PT011 - as above
            column_type("DateTime64(7)").stored("2299-12-31 00:00:00.0000000")

    def test_an_integer_that_no_float_is_stays_one_and_is_an_error_where_arrow_has_floats(self):
        type_ = column_type("Variant(Float64, UInt64)")
        assert type_.plain("18446744073709551615") == type_.value("18446744073709551615") == 2**64 - 1
        with pytest.raises(ValueError):  # noqa: PT011 - as above
            type_.stored("18446744073709551615")

    def test_a_decimal_may_have_more_zeros_than_places(self):
        type_ = column_type("Decimal(38, 2)")
        assert pa.array([type_.stored(f"{'9' * 36}.990")], type_.arrow())[0].as_py() == Decimal(
            f"{'9' * 36}.99"
        )

    def test_a_key_that_comes_twice_is_kept(self):
        assert column_type("Map(String, UInt8)").stored("{'k':1,'k':2}") == [("k", 1), ("k", 2)]

    def test_pyarrow_is_not_needed_for_values(self):
        code = (
            "import sys; sys.modules['pyarrow'] = None\n"
            "from airflow_provider_roe.results.clickhouse import column_type\n"
            "assert column_type('Array(Decimal(9, 2))').plain('[1.5]') == ['1.5']"
        )
        subprocess.run([sys.executable, "-c", code], check=True)


def _same(stored: Any, value: Any) -> bool:
    """Whether what Arrow gives back is the value, but for the forms in which Arrow gives it."""
    match value:
        case ():
            return stored == []
        case tuple():
            return all(map(_same, stored.values(), value))
        case dict() if isinstance(stored, list):
            return _same(
                [item for pair in stored for item in pair], [item for pair in value.items() for item in pair]
            )
        case dict():
            return list(stored) == list(value) and all(map(_same, stored.values(), value.values()))
        case list():
            return len(stored) == len(value) and all(map(_same, stored, value))
        case int() | Decimal() if isinstance(stored, str):
            return type(value)(stored) == value
    return bool(stored == value)


# Values of a type, and how ClickHouse writes them: at the top, and within others.


def quoted(text: str) -> str:
    escapes = {
        "\\": "\\\\",
        "'": "\\'",
        "\b": "\\b",
        "\f": "\\f",
        "\n": "\\n",
        "\r": "\\r",
        "\t": "\\t",
        "\0": "\\0",
    }
    return "'" + "".join(escapes.get(character, character) for character in text) + "'"


def written(value: Any, nested: bool = False) -> str:
    match value:
        case None:
            return "NULL" if nested else "\\N"
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case Decimal():
            return f"{value:f}"
        case str():
            return quoted(value) if nested else value
        case date():
            text = str(value)[:19]
            if isinstance(value, datetime) and value.microsecond:
                text += f".{value.microsecond:06}"
            return quoted(text) if nested else text
        case list():
            return f"[{','.join(written(item, True) for item in value)}]"
        case tuple():
            return f"({','.join(written(item, True) for item in value)})"
        case dict():
            return f"{{{','.join(f'{written(k, True)}:{written(v, True)}' for k, v in value.items())}}}"
    raise TypeError(value)


def _decimals(digits: int, places: int) -> st.SearchStrategy[Decimal]:
    limit = 10**digits - 1
    return st.integers(-limit, limit).map(lambda n: Decimal(f"{n}e-{places}"))


BITS = (8, 16, 32, 64, 128, 256)
SCALARS: list[tuple[str, st.SearchStrategy[Any]]] = [
    *((f"Int{bits}", st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)) for bits in BITS),
    *((f"UInt{bits}", st.integers(0, 2**bits - 1)) for bits in BITS),
    ("Float64", st.floats(allow_nan=False)),
    ("Decimal(18, 4)", _decimals(18, 4)),
    ("Decimal(76, 38)", _decimals(76, 38)),
    ("Bool", st.booleans()),
    ("Date32", st.dates(date(1900, 1, 1), date(2299, 12, 31))),
    ("DateTime64(6)", st.datetimes(datetime(1900, 1, 1), datetime(2299, 1, 1), timezones=st.just(UTC))),
    (
        "DateTime('Asia/Tokyo')",
        st.integers(0, 2**32 - 1).map(
            lambda seconds: datetime(1970, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo")) + timedelta(seconds=seconds)
        ),
    ),
    ("String", st.text()),
]  # fmt: skip


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Types of types: each example is a type's name and the strategy of its values."""
    keys = st.sampled_from(
        [row for row in SCALARS if "Int" in row[0] or row[0] in ("String", "Date32", "Bool")]
    )
    return st.one_of(
        inner.map(lambda t: (f"Array({t[0]})", st.lists(t[1], max_size=4))),
        st.lists(inner, min_size=1, max_size=3).map(
            lambda ts: (f"Tuple({', '.join(t[0] for t in ts)})", st.tuples(*(t[1] for t in ts)))
        ),
        st.tuples(keys, inner).map(
            lambda kv: (f"Map({kv[0][0]}, {kv[1][0]})", st.dictionaries(kv[0][1], kv[1][1], max_size=4))
        ),
    )


TYPES = st.recursive(
    st.sampled_from(SCALARS).flatmap(
        lambda t: st.sampled_from(
            [t, (f"Nullable({t[0]})", st.none() | t[1].filter(lambda v: v not in ("\\N", "ᴺᵁᴸᴸ")))]
        )
    ),
    _nested,
    max_leaves=4,
)


class TestRoundTrips:
    @given(st.data())
    def test_what_clickhouse_writes_is_read_back(self, data):
        name, values = data.draw(TYPES)
        value = data.draw(values)
        type_ = column_type(name)
        assert type_.value(written(value)) == value
        plain = type_.plain(written(value))
        assert json.loads(json.dumps(plain, allow_nan=False)) == plain
        array = pa.array([type_.stored(written(value))], type_.arrow())
        assert _same(array[0].as_py(), value)

    @given(name=TYPES.map(lambda t: t[0]), cell=st.text() | st.text("[](){},:'\\N1a "))
    def test_any_other_text_is_read_or_is_an_error_of_one_kind(self, name, cell):
        with suppress(ValueError):
            column_type(name).plain(cell)

    @given(st.text() | st.text("Array(Nullable,Tuple'`) 12"))
    def test_any_text_may_be_a_type(self, name):
        assert column_type(name).plain(None) is None
