# ruff: noqa: RUF001 - quotes of all kinds are what this is about
"""What a parameter comes to on ClickHouse itself is the parameter, whatever is in it."""

from __future__ import annotations

import enum
import re
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_roe.exceptions import RoeInputError
from airflow_provider_roe.sql.literals import bind, literal
from tests.unit.sql.engine import AS_TEXT, evaluate, run

TYPES = {
    bool: "Bool",
    int: r"U?Int\d+",
    float: "Float64",
    Decimal: r"Decimal\(\d+, \d+\)",
    str: "String",
    bytes: "String",
    datetime: r"DateTime64\(6, 'UTC'\)",
    date: "Date32",
    time: r"Time64\(6\)",
    timedelta: r"Time64\(6\)",
    UUID: "UUID",
    list: r"Array\(.+\)",
    tuple: r"Tuple\(.*\)",
    dict: r"Map\(.+\)",
}


def is_same(cell: Any, value: Any) -> bool:
    """Return whether a cell of the engine's JSON holds a value."""
    match value:
        case None | bool():
            return cell is value
        case int():
            return not isinstance(cell, bool | float) and int(cell) == value
        case float():
            return repr(float(cell)) == repr(value)
        case Decimal():
            return Decimal(cell) == value
        case bytes():
            return cell.encode(errors="surrogateescape") == value
        case datetime():
            aware = value if value.tzinfo else value.replace(tzinfo=UTC)
            return datetime.fromisoformat(cell).replace(tzinfo=UTC) == aware
        case date() | time() | UUID():
            return cell == (value.isoformat("microseconds") if isinstance(value, time) else str(value))
        case timedelta():
            hours, minutes, seconds = cell.lstrip("-").split(":")
            whole, micros = seconds.split(".")
            span = timedelta(
                hours=int(hours), minutes=int(minutes), seconds=int(whole), microseconds=int(micros)
            )
            return (-span if cell.startswith("-") else span) == value
        case list() | tuple():
            return isinstance(cell, list) and len(cell) == len(value) and all(map(is_same, cell, value))
        case dict():
            return len(cell) == len(value) and all(
                is_same(key, k) and is_same(item, v)
                for (key, item), (k, v) in zip(cell.items(), value.items(), strict=True)
            )
        case _:
            return cell == value


def check(values: list[Any]) -> None:
    """Hold what the engine makes of values' literals against the values."""
    for cell, value in zip(evaluate([literal(value) for value in values]), values, strict=True):
        assert is_same(cell.value, value), f"{value!r} came to {cell}, by {literal(value)}"
        if value is not None:
            pattern = next(name for kind, name in TYPES.items() if isinstance(value, kind))
            assert re.fullmatch(pattern, cell.type), f"{value!r} came to {cell}"


def examples(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    """Return values for one run of the engine, which is slow to start."""
    found: list[Any] = []

    @settings(max_examples=count, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found


# Text that means something to ClickHouse, to a template, or to those who read SQL on the way
PIECES = [
    *(
        "'",
        "''",
        '"',
        "`",
        "\\",
        "\\'",
        "\\x27",
        "\\0",
        "\0",
        "\n",
        "\r",
        "\t",
        "\x1a",
        "\x7f",
        "\x85",
        "\u2028",
    ),
    *(
        ";",
        "--",
        "---",
        "-",
        "#",
        "# ",
        "//",
        "/*",
        "*/",
        "$$",
        "$a$",
        "$",
        "%",
        "%s",
        "%%",
        "%(a)s",
        "{",
        "{{",
    ),
    *("{a:Int8}", "}}", "‘", "’", "“", "”", "ʼ", "＇", "é", "😀", "\u202e", "\ufeff", "\\N", "NULL", " ", ""),
    *(
        "') OR 1=1 --",
        "', sleep(3), '",
        "'); DROP TABLE t; --",
        " UNION ALL SELECT 1",
        " FORMAT Null",
        "\\u0027",
    ),
]
#: What may stand around a placeholder, and stuff for it that may end it early, or open another
ENCLOSED = [
    *((", '", "'"), (', "', '"'), (", `", "`"), (", ‘", "’"), (", $$", "$$"), (", $a$", "$a$"), (", ", "")),
    *((" /*", "*/"), (" --", "\n"), (" # ", "\n"), (" #!", "\n"), (" //", "\n"), ("", " ")),
]
STUFF = [
    *(
        "'",
        "''",
        '"',
        "`",
        "\\",
        "\n",
        "\r",
        "--",
        "-",
        "\u2212",
        "#",
        "# ",
        "//",
        "/",
        "/*",
        "*/",
        "$$",
        "$a$",
        "$a b$",
    ),
    *("$é$", "$", "a", "1", ".", "‘", "’", "“", "”", " ", " , "),
]
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=8).map("".join)
ints = (
    st.integers(-(2**255), 2**256 - 1)
    | st.integers(-300, 300)
    | st.sampled_from(
        [
            sign * 2**bits + by
            for bits in (7, 8, 15, 31, 32, 63, 64, 127, 128)
            for sign in (1, -1)
            for by in (-1, 0, 1)
        ]
    )
)
decimals = st.tuples(st.integers(-(10**38), 10**38), st.integers(-38, 37)).map(
    lambda parts: Decimal(parts[0]).scaleb(0) if not parts[1] else Decimal(f"{parts[0]}E{parts[1]}")
)
zones = st.none() | st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
datetimes = st.datetimes(datetime(1900, 1, 3), datetime(2299, 12, 29), timezones=zones)
dates = st.dates(date(1900, 1, 1), date(2299, 12, 31))
spans = st.timedeltas(timedelta(hours=-999), timedelta(hours=999))
SCALARS = {
    "bool": st.booleans(),
    "int": ints,
    "float": st.floats(),
    "Decimal": decimals,
    "str": texts,
    "bytes": st.binary(max_size=20),
    "datetime": datetimes,
    "date": dates,
    "time": st.times(),
    "timedelta": spans,
    "UUID": st.uuids(),
}
small_decimals = st.decimals(-(10**9), 10**9, places=4)
narrow = st.integers(-(2**127), 2**127 - 1)
items = SCALARS | {"int": narrow, "Decimal": small_decimals}
lists = st.sampled_from(sorted(items)).flatmap(
    lambda kind: (
        st.lists(st.none() | items[kind], max_size=4)
        | st.lists(st.lists(st.none() | items[kind], max_size=3), max_size=3)
        | st.lists(st.tuples(items[kind], texts), max_size=3)
    )
)
tuples = st.lists(st.one_of(st.none(), lists, *SCALARS.values()), max_size=4).map(tuple)
dicts = st.dictionaries(texts, narrow | st.none(), max_size=4) | st.dictionaries(
    narrow, st.lists(texts, max_size=3), max_size=4
)


COLUMNS = {
    "String": texts,
    "Float64": st.floats(),
    "Int256": st.integers(-(2**255), 2**255 - 1),
    "Decimal(76, 4)": small_decimals,
    "Date32": dates,
    "DateTime64(6, 'UTC')": datetimes,
    "Time64(6)": spans,
    "UUID": st.uuids(),
    "Array(String)": st.lists(texts, max_size=3),
    "Map(String, Int64)": st.dictionaries(texts, st.integers(-(2**63), 2**63 - 1), max_size=3),
}


def enclosed(edges: tuple[str, str], stuff: str) -> str:
    return stuff.join(edges)


class TestOnTheEngine:
    def test_every_value_comes_back_as_it_is_and_of_its_type(self):
        kinds = SCALARS | {"list": lists, "tuple": tuples, "dict": dicts}
        counts = {"str": 200, "list": 80}
        drawn = {name: examples(strategy, counts.get(name, 30)) for name, strategy in kinds.items()}
        print("values:", {name: len(values) for name, values in drawn.items()})
        check([value for values in drawn.values() for value in values])

    def test_edges_come_back(self):
        check(
            [
                None,
                [],
                (),
                {},
                [None],
                [[], [None]],
                [{}, {"a": 1}],
                [-1, 2**63 - 1],
                [-1, 2**64 - 1],
                [[-1], [2**100]],
                [Decimal("1.5"), Decimal("1.25"), None],
                Decimal("9" * 76),
                Decimal("1E-75"),
                Decimal("0E+999"),
                -(2**255),
                2**256 - 1,
                5e-324,
                -0.0,
                1.7976931348623157e308,
                date(1900, 1, 1),
                date(2299, 12, 31),
                datetime(1900, 1, 1, 0, 0, 0, 1),
                datetime(2299, 12, 31, 23, 59, 59, 999999),
                timedelta(hours=1000) - timedelta(microseconds=1),
                timedelta(microseconds=-1),
                time.max,
                "".join(map(chr, range(256))),
                bytes(range(256)),
                "".join(PIECES),
            ]
        )

    def test_subclasses_are_what_they_derive_from(self):
        class Color(str, enum.Enum):  # noqa: UP042 - the old way, whose str() is another
            RED = "r'ed"

        class Level(enum.IntEnum):
            HIGH = 3

        values = [Color.RED, Level.HIGH, pd.Timestamp("2020-01-02 03:04:05.000006", tz="Europe/Berlin")]
        cells = evaluate([literal(value) for value in values])
        assert [cell.value for cell in cells] == ["r'ed", 3, "2020-01-02 02:04:05.000006"]

    def test_a_placeholder_is_one_wherever_the_engine_takes_a_value(self):
        hostile = "'); -- /* $$ %s"
        queries = [
            bind("SELECT %s, 5 -%s, '%%', 5 %% 3 -- it's 100%%", [hostile, -1]),
            bind("SELECT %(a)s /* /* ' */ ' */, `x'` FROM (SELECT %(a)s AS `x'`)", {"a": hostile}),
            bind("SELECT $t$ ' $t$, %s, 'a\\' ', %s", [hostile, hostile]),
            bind("SELECT number FROM numbers(9) WHERE number IN %s LIMIT %s", [(1, 2), 1]),
        ]
        rows = [[cell.value for cell in row] for [row] in run(queries)]
        assert rows[0][0] == hostile
        assert [str(value) for value in rows[0][1:]] == ["6", "%", "2"]
        assert rows[1] == [hostile, hostile]
        assert rows[2] == [" ' ", hostile, "a' ", hostile]
        assert [str(value) for value in rows[3]] == ["1"]

    def test_what_the_binder_takes_for_a_placeholder_is_a_value_to_the_engine(self):
        stuff = st.lists(st.sampled_from(STUFF), max_size=3).map("".join)
        part = st.builds(enclosed, st.sampled_from(ENCLOSED), stuff)
        templates = examples(st.builds("SELECT 1{}, %s{}{}".format, part, part, part), 800)
        bound = []
        for template in templates:
            try:
                bound.append((template, bind(template, ["MARK"])))
                bound.append((template, bind(template, [7770777])))
            except RoeInputError:
                continue
        formatted = evaluate([f"formatQueryOrNull({literal(sql)})" for _, sql in bound])
        parsed = [
            (template, cell.value)
            for (template, _), cell in zip(bound, formatted, strict=True)
            if cell.value is not None
        ]
        print("templates:", len(templates), "texts bound:", len(bound), "SQL to the engine:", len(parsed))
        assert parsed
        for template, text in parsed:
            assert re.search(r"(?<!\\)'MARK'|(?<![\w.'])7770777(?![\w.'])", text), (template, text)

    def test_rows_of_values_hold_what_was_bound(self):
        drawn = {column: examples(strategy, 30) for column, strategy in COLUMNS.items()}
        queries = []
        for column, values in drawn.items():
            rows = ", ".join(bind("(%s, %s)", [i, value]) for i, value in enumerate(values))
            table = f"format(Values, {literal(f'i Int64, v {column}')}, {literal(rows)})"
            queries.append(f"SELECT v FROM {table} ORDER BY i{AS_TEXT}")
        for answer, values in zip(run(queries), drawn.values(), strict=True):
            for [cell], value in zip(answer, values, strict=True):
                assert is_same(cell.value, value), f"{value!r} came to {cell}"


def test_nothing_in_a_string_s_literal_means_anything_to_others():
    written = literal("".join(PIECES))
    assert re.search(r"--|//|[;%{}$#*\"`‘’“”\x00-\x1f]", written) is None
    assert "'" not in written[1:-1]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        pytest.param(object(), "A object has no literal", id="an object"),
        ({1, 2}, "A set has no literal"),
        (1 + 2j, "A complex has no literal"),
        ([True, 2], "several kinds.*: bool, int"),
        ([1, 1.5], "several kinds.*: float, int"),
        ({"a": 1, "b": "c"}, "several kinds.*: int, str"),
        ([[1], ["a"]], "several kinds"),
        ([date(2020, 1, 1), datetime(2020, 1, 1)], "several kinds.*: date, datetime"),
        ([[1], None], "None is beside a list"),
        ([(1,), (1, 2)], "differ in length"),
        ({None: 1}, "None is a key"),
        (2**256, "An integer of 257 bits is wider"),
        ([-1, 2**256 - 1], "wider"),
        (Decimal("NaN"), "is no number"),
        (Decimal("sNaN"), "is no number"),
        (Decimal("-Infinity"), "is no number"),
        (Decimal("1E+76"), "77 digits and 0 decimals"),
        (Decimal("1E+999999"), "1000000 digits"),
        (Decimal("1E-76"), "76 decimals"),
        (date(1899, 12, 31), "is not in the years 1900 to 2299"),
        (datetime(2300, 1, 1), "is not in the years"),
        (datetime(2299, 12, 31, 23, tzinfo=timezone(timedelta(hours=-2))), "is not in the years"),
        (pd.NaT, "NaT is not in the years"),
        (pd.Timestamp("2020-01-01 00:00:00.000000001"), "has nanoseconds"),
        (time(1, tzinfo=UTC), "is a time with a zone"),
        (timedelta(hours=1000), "is not within 999:59:59"),
        (timedelta(hours=-1000), "is not within 999:59:59"),
        ("ab\ud800", "half a surrogate pair at character 3"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_what_cannot_be_written_exactly_is_refused(value, words):
    with pytest.raises(RoeInputError, match=words):
        literal(value)


def test_a_list_without_end_is_refused():
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(RoeInputError, match="nested too deeply"):
        literal(endless)


class TestBind:
    @pytest.mark.parametrize(
        ("sql", "parameters", "bound"),
        [
            ("SELECT '%s', 5 % 2, '%%'", None, "SELECT '%s', 5 % 2, '%%'"),
            ("SELECT '%%', 5 %% 2", [], "SELECT '%', 5 % 2"),
            ("SELECT '%%s' -- %%(a)s", {}, "SELECT '%s' -- %(a)s"),
            ("SELECT %s, %s", ["a", 1], "SELECT 'a', 1"),
            ("SELECT %(b)s, %(a)s, %(b)s", {"a": 1, "b": None}, "SELECT NULL, 1, NULL"),
            ("f(%s)", ("%s",), r"f('\x25s')"),
            ("%%%%", [], "%%"),
            ("a$b$ , %s , $b$", [1], "a$b$ , 1 , $b$"),
            ("/* /* */ ' */ %s", [1], "/* /* */ ' */ 1"),
            ("SELECT -%s", [1], "SELECT -1"),
        ],
    )
    def test_placeholders_become_literals(self, sql, parameters, bound):
        assert bind(sql, parameters) == bound

    @pytest.mark.parametrize(
        ("sql", "parameters", "words"),
        [
            ("%s, %s", [1], "placeholder for parameter 2, and parameters have none: there are 1"),
            ("%s", [1, 2], "sql has 1 placeholders, and there are 2 parameters"),
            ("%(a)s", {}, "placeholder for parameter 'a', and parameters have none"),
            ("%(a)s", {"a": 1, "b": 2, "c": 3}, "no placeholder for these parameters: 'b', 'c'"),
            ("%s", {"a": 1}, "needs a list of parameters"),
            ("%(a)s", [1], "needs a dict of parameters"),
            ("%(a)s", {"a": object()}, "parameter 'a' cannot be bound: A object"),
            ("%s", ["x", {1}][1:], "parameter 1 cannot be bound: A set"),
            ("%s", "x", "must be a list, a tuple or a dict, not a str"),
            ("%s", iter([1]), "must be a list, a tuple or a dict, not a list_iterator"),
            (None, [1], "sql must be a text, where it has parameters, not a NoneType"),
            ("SELECT 5 % 2", [], "% that belongs to no placeholder, after 'SELECT 5 '"),
            ("LIKE 'a%'", [], '% that belongs to no placeholder, after "\'a"'),
            ("%d", [1], "belongs to no placeholder"),
            ("%(a)", {"a": 1}, "belongs to no placeholder"),
            ("%s%s", [1, 2], "%s at character 3 right beside"),
            ("1%s", [1], "right beside"),
            ("'a'%s", ["b"], "right beside"),
            ("%s'a'", ["b"], "right beside"),
            ("1.%s", [1], "right beside"),
            ("%s.5", [1], "right beside"),
            ("7 %sum(x)", [1], "right beside"),
        ],
    )
    def test_what_does_not_fit_is_told(self, sql, parameters, words):
        with pytest.raises(RoeInputError, match=re.escape(words)):
            bind(sql, parameters)

    @pytest.mark.parametrize(
        "sql",
        [
            *("'%s'", '"%s"', "`%s`", "‘%s’", "“%s”", "'%s", "'a\\'%s'", "'a''%s'"),
            *("$$%s$$", "$a$ $b$ %s $a$", "1$$ %s $$", "-- %s", "5--%s", "# %s", "#! %s", "// %s"),
            *("/* %s */", "/* /* */ %s */", "/* %s"),
        ],
    )
    def test_a_placeholder_in_quotes_or_a_comment_is_refused(self, sql):
        with pytest.raises(RoeInputError, match="inside quotes or a comment"):
            bind(sql, ["x"])

    def test_names_may_be_left_over_where_a_dict_serves_several_texts(self):
        assert bind("%(a)s", {"a": 1, "b": 2}, some=True) == "1"

    def test_an_error_does_not_show_a_value(self):
        with pytest.raises(RoeInputError) as caught:
            bind("%s", ["secret\ud800"])
        assert "secret" not in str(caught.value)
