from __future__ import annotations

import json
import math
import subprocess
import sys
from contextlib import suppress
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_roe.results.clickhouse import column_type

BERLIN, UTC = ZoneInfo("Europe/Berlin"), ZoneInfo("UTC")

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
    ("DateTime", "2026-03-01 10:00:00", datetime(2026, 3, 1, 10), "2026-03-01T10:00:00"),
    ("DateTime", "2026-03-01T10:00:00", datetime(2026, 3, 1, 10), "2026-03-01T10:00:00"),
    ("DateTime('UTC')", "2026-03-01 10:00:00", datetime(2026, 3, 1, 10, tzinfo=UTC),
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
        datetime(2026, 3, 1, 10, 0, 0, 120_000),
        "2026-03-01T10:00:00.120",
    ),
    (
        "DateTime64(6, 'UTC')",
        "1900-01-01 00:00:00.000001",
        datetime(1900, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
        "1900-01-01T00:00:00.000001+00:00",
    ),
    ("DateTime64(9)", "2026-03-01 10:00:00.123456789", "2026-03-01T10:00:00.123456789"),
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
    ("Map(Date, String)", "{'2026-03-01':'x'}", {date(2026, 3, 1): "x"}, {"2026-03-01": "x"}),
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
    ("DateTime", "2026-03-01 10:00:00+01:00"),
    ("DateTime", "2026-03-01 10:00:00.5"),
    ("DateTime64(3)", "2026-03-01 10:00:00.1234"),
    ("DateTime('Europe/Berlin')", "2026-10-25 02:30:00"),
    ("DateTime('Europe/Berlin')", "2026-03-29 02:30:00"),
    ("DateTime('Europe/Berlin')", "9999-12-31 23:59:59Z"),
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
    "JSON",
    "Object('json')",
    "Dynamic",
    "Variant(String, UInt8)",
    "AggregateFunction(sum, UInt8)",
    "Nothing",
    "Nullable(Nothing)",
    "IntervalDay",
    "Time64(3)",
    "Int7",
    "String)",
    "Array(",
    "Array(Foo)",
    "Tuple()",
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
]

ARROW = [
    ("Int8", pa.int8()), ("Int64", pa.int64()), ("UInt16", pa.uint16()), ("UInt64", pa.uint64()),
    ("Int128", pa.string()), ("UInt128", pa.string()), ("Int256", pa.string()),
    ("Float32", pa.float32()), ("Float64", pa.float64()), ("Bool", pa.bool_()),
    ("Decimal(38, 4)", pa.decimal128(38, 4)), ("Decimal(39, 4)", pa.string()),
    ("Decimal32(2)", pa.decimal128(9, 2)), ("Date", pa.date32()), ("Date32", pa.date32()),
    ("DateTime", pa.timestamp("s")), ("DateTime('UTC')", pa.timestamp("s", "UTC")),
    ("DateTime64(3, 'Europe/Berlin')", pa.timestamp("ms", "Europe/Berlin")),
    ("DateTime64(6)", pa.timestamp("us")), ("DateTime64(9)", pa.timestamp("ns")),
    ("String", pa.string()), ("FixedString(4)", pa.string()), ("Enum8('a' = 1)", pa.string()),
    ("UUID", pa.string()), ("IPv6", pa.string()), ("JSON", pa.string()),
    ("LowCardinality(Nullable(String))", pa.string()), ("Nullable(Int32)", pa.int32()),
    ("Array(Nullable(Date))", pa.list_(pa.date32())),
    ("Tuple(UInt8, String)", pa.struct([("1", pa.uint8()), ("2", pa.string())])),
    ("Tuple(a UInt8, b Array(String))", pa.struct([("a", pa.uint8()), ("b", pa.list_(pa.string()))])),
    ("Map(String, UInt8)", pa.map_(pa.string(), pa.uint8())),
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

    @pytest.mark.parametrize("name", UNKNOWN, ids=lambda name: name[:30])
    @pytest.mark.parametrize("cell", ["", "x", "[1]", "NULL", None])
    def test_the_cells_of_an_unknown_type_stay_strings(self, name, cell):
        type_ = column_type(name)
        assert (type_.value(cell), type_.plain(cell), type_.stored(cell), type_.text(cell)) == (cell,) * 4
        assert type_.arrow() == pa.string()

    def test_the_null_of_an_unknown_type_is_null(self):
        assert column_type("Nullable(Nothing)").value("\\N") is None
        assert column_type("Foo").value("\\N") == "\\N"


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
    ("DateTime64(6)", st.datetimes(datetime(1900, 1, 1), datetime(2299, 1, 1))),
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
