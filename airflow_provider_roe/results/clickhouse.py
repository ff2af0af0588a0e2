r"""
ClickHouse's column types, without I/O: from a type's name to what reads its cells.

Nothing says in which of three forms a cell comes, so all are read: as ClickHouse's text formats write it
(``['a','it\'s']``, ``(1,'x')``, ``NULL``), as Python's ``str()`` of what clickhouse-connect makes of it
(``['a', "it's"]``, ``{'a': 1, 'b': datetime.date(2024, 1, 2)}``, ``None``), and as JSON of its natural type.
A cell is read to its exact value or not at all. A type that is not known here leaves its cells as text.

JSON's numbers arrive as the ``bytes`` of their text, so that none loses a digit on the way to its type.
"""

from __future__ import annotations

import ast
import ipaddress
import json
import math
import re
import struct
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Context, Decimal
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: How NULL is written in a cell; the latter two only where no string can be meant.
NULL_WORDS = frozenset({"\\N", "ᴺᵁᴸᴸ"})
ALL_NULL_WORDS = NULL_WORDS | {"NULL", "None"}
TRUE_WORDS = frozenset({"true", "True", "1"})
FALSE_WORDS = frozenset({"false", "False", "0"})
#: How deep a type's name may be nested; a deeper one is an unknown type.
DEEPEST = 100

#: How NULL is written within others, where strings are quoted.
BARE_NULLS = ("NULL", "None", "null")

#: Returns the JSON of a plain value.
encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode

_BARE_NULL = re.compile(rf"\s*(?:{'|'.join(BARE_NULLS)})(?=\s*[,:)\]}}])")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "0": "\0", "a": "\a", "v": "\v"}
_ESCAPES |= {c: c for c in "\\'\"`/"}

_INTEGER = re.compile(r"-?\d+", re.ASCII)
_FLOAT = re.compile(r"-?(?:\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|inf|Infinity)|nan|-nan|NaN", re.ASCII)
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_DECIMAL = re.compile(r"-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE]-\d{1,3})?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIMESTAMP = re.compile(
    r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d(?::\d\d)?)?", re.ASCII
)
_TIME = re.compile(r"(?:(-?\d+) days?, )?(-?)(\d{1,3}):([0-5]\d):([0-5]\d)(?:\.(\d{1,9}))?", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

_QUOTED = r"'[^'\\]*(?:\\.[^'\\]*)*'|\"[^\"\\]*(?:\\.[^\"\\]*)*\""
_BYTES = re.compile(rf"b(?:{_QUOTED})", re.DOTALL)
_ZONE = (
    r"datetime\.timezone\.utc|<UTC>|zoneinfo\.ZoneInfo\(key='(?P<key>[^']+)'\)"
    r"|datetime\.timezone\(datetime\.timedelta\((?:days=(?P<days>-1), )?seconds=(?P<seconds>\d+)\)\)"
)
_TOKEN = re.compile(
    rf"""\s*(?:
        (?P<quoted>{_QUOTED})
      | (?P<bare>[^\s,:()\[\]{{}}'"]+)(?=\s*(?:[,:)\]}}]|$))
      | (?P<bytes>b(?:{_QUOTED}))
      | datetime\.date\((?P<date>\d+,\ \d+,\ \d+)\)
      | datetime\.datetime\((?P<datetime>\d+(?:,\ \d+)*)(?:,\ fold=(?P<fold>[01]))?
        (?:,\ tzinfo=(?P<zone>{_ZONE.replace(" ", "[ ]")}))?\)
      | datetime\.timedelta\((?P<timedelta>0|(?:(?:days|seconds|microseconds)=-?\d+(?:,\ (?!\)))?)+)\)
      | (?:Decimal|UUID|IPv4Address|IPv6Address)\('(?P<wrapped>[^'\\]*)'\)
    )""",
    re.DOTALL | re.VERBOSE | re.ASCII,
)
_PUNCTUATION = {character: re.compile(rf"\s*\{character}") for character in "[](){},:"}
_TYPE_TOKEN = re.compile(r"""'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`|[\w.+-]+|[^\s\w]""", re.DOTALL)
_WORD = re.compile(r"\w+")

_NANOSECONDS = range(-(2**63), 2**63)
#: Nanoseconds of the longest Time.
_LONGEST_TIME = 1000 * 3600 * 10**9 - 1
_WIDE = Context(prec=100)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


DEFAULT_ADVICE = "To take it as it is, let the SQL return toString() of the column."


class UnreadableCellError(ValueError):
    """
    A cell that cannot be read as its type without a guess.

    :param advice: A sentence that says what the SQL can return instead.
    """

    def __init__(self, cell: object, advice: str = DEFAULT_ADVICE) -> None:
        super().__init__(cell)
        self.advice = advice


@dataclass(frozen=True, kw_only=True)
class ColumnType:
    r"""
    A column's type: reads its cells.

    A cell is a ``str``, or JSON of its natural type: ``bytes`` for a number, ``bool``, ``list``, ``dict``; or
    None, which is NULL.

    :param nullable: Whether a cell can say NULL in words.
    :param nulls_in_words: Whether ``\N`` and ``ᴺᵁᴸᴸ`` say so also where text can be meant.
    """

    nullable: bool = False
    nulls_in_words: bool = True

    def text(self, cell: Any) -> str | None:
        """Return a cell as Roe sent it, or None for NULL; JSON that is no string as its text."""
        if self.is_null(cell):
            return None
        return cell if isinstance(cell, str) else json_text(cell)

    def value(self, cell: Any) -> Any:
        """
        Return a cell as the Python value that it stands for.

        Integers of any width are ``int``, Decimal is :class:`~decimal.Decimal`, Date and Date32 are
        :class:`~datetime.date`, Time and Time64 :class:`~datetime.timedelta`. DateTime and DateTime64 are
        :class:`~datetime.datetime`, aware in the type's time zone, or in UTC where it names none. What is
        finer than microseconds, for which Python has no type, is a string: of ISO 8601, or ``HH:MM:SS.n``.
        Arrays are lists, tuples are tuples or, with named elements, dicts; maps are dicts. All else is
        ``str``: of JSON and of a Variant of other than numbers, the JSON or ClickHouse text.

        :raises ValueError: The cell cannot be read as this type; or a map has a key twice.
        """
        return self._convert(self._value, cell)

    def plain(self, cell: Any) -> Any:
        """
        Return a cell as a value that JSON, and Airflow's XCom, can carry without loss.

        As :meth:`value`, but times are strings (of ISO 8601, or ``HH:MM:SS``); Decimals, integers wider than
        64 bits and floats that are not finite are strings; tuples are lists, a map's keys are strings.

        :raises ValueError: The cell cannot be read as this type; or a map has a key twice.
        """
        return self._convert(self._plain, cell)

    def stored(self, cell: Any) -> Any:
        """
        Return a cell as a value from which pyarrow makes one of :meth:`arrow`.

        :raises ValueError: The cell cannot be read as this type.
        """
        return self._convert(self._stored, cell)

    def arrow(self) -> Any:
        """
        Return the Arrow type.

        Integers wider than 64 bits and Decimals of more than 38 digits are strings: Arrow has no room for the
        widest, and common readers of Parquet refuse a whole file for the others. Times are ``timestamp`` in
        the type's own unit and zone (UTC where it names none), Time is ``duration``, a tuple is a ``struct``,
        whose fields are called 1, 2, … where the tuple's elements have no names.

        :raises ImportError: pyarrow is not installed.
        """
        import pyarrow

        return self._arrow(pyarrow)

    def is_null(self, cell: Any) -> bool:
        """Tell whether a cell is NULL."""
        return cell is None or (self.nullable and isinstance(cell, str) and cell in self.null_words())

    def null_words(self) -> frozenset[str]:
        """Return the words for NULL."""
        return ALL_NULL_WORDS

    # What a type is made of

    def _read(self, cell: Any) -> Any:
        """Return what a cell that is not NULL holds, in a form that keeps all of it."""
        raise NotImplementedError

    def _scan(self, text: str, start: int) -> tuple[Any, int]:
        """Read the value that starts there, within others; return it and where it ends."""
        raise NotImplementedError

    def _arrow(self, pa: Any) -> Any:
        raise NotImplementedError

    def _value(self, held: Any) -> Any:
        return held

    def _plain(self, held: Any) -> Any:
        return self._value(held)

    def _stored(self, held: Any) -> Any:
        return held

    def _convert(self, form: Callable[[Any], Any], cell: Any) -> Any:
        try:
            return None if self.is_null(cell) else form(self._read(cell))
        except UnreadableCellError:
            raise
        except (ValueError, LookupError, ArithmeticError, TypeError, RecursionError) as e:
            raise UnreadableCellError(cell) from e

    def _read_element(self, cell: Any) -> Any:
        """Read a value of a natural list or object."""
        if cell is None and self.nullable:
            return None
        return self._read(cell)

    def _scan_element(self, text: str, start: int) -> tuple[Any, int]:
        if self.nullable and (null := _BARE_NULL.match(text, start)):
            return None, null.end()
        return self._scan(text, start)


def _optional(form: Callable[[Any], Any], held: Any) -> Any:
    return None if held is None else form(held)


# From a type's name to the type


def column_type(name: str, *, nulls_in_words: bool = True) -> ColumnType:
    r"""
    Return the type that reads the cells of a column.

    :param name: ClickHouse's name of the type, such as ``Array(Nullable(Decimal(18, 4)))``. One that is not
        known, or of which a part is not, or that is nested more than 100 deep, gives a type whose cells are
        text.
    :param nulls_in_words: Whether ``\N`` and ``ᴺᵁᴸᴸ`` are NULL also where text can be meant.
    """
    try:
        found = _type(_tree(name))
    except (ValueError, LookupError, ArithmeticError, TypeError):  # whatever else a name may hold
        found = AnyText(nullable=bool(re.match(r"\s*(LowCardinality\()?Nullable\(", name)))
    return found if nulls_in_words else replace(found, nulls_in_words=False)


def _tree(name: str) -> list[Any]:
    """Return a name's words, with a list of lists of words for each pair of brackets."""
    top: list[Any] = []
    stack: list[list[Any]] = []
    words = top
    for token in _TYPE_TOKEN.findall(name):
        match token:
            case "(":
                stack.append(words)
                arguments: list[Any] = [[]]
                words.append(arguments)
                stack.append(arguments)
                words = arguments[0]
            case ")" | "," if not stack:
                raise ValueError(name)
            case ")":
                stack.pop()
                words = stack.pop()
            case ",":
                words = []
                stack[-1].append(words)
            case _:
                words.append(token)
        if len(stack) > 2 * DEEPEST:
            raise ValueError(name)
    if stack:
        raise ValueError(name)
    return top


def _type(words: list[Any]) -> ColumnType:
    match words:
        case ["String" | "Enum" | "Enum8" | "Enum16", *_]:
            return Text()
        case ["FixedString", [[str(size)]]] if re.fullmatch("[0-9]{1,8}", size):
            return FixedText(int(size))
        case ["LowCardinality", [inner]]:
            return _type(inner)
        case ["Nullable", [inner]]:
            return replace(_type(inner), nullable=True)
        case ["SimpleAggregateFunction", [_, inner]]:
            return _type(inner)
        case ["Array", [inner]] | ["QBit", [inner, _]]:
            return Array(_type(inner))
        case ["Tuple", elements]:
            return _tuple(elements)
        case ["Nested", elements]:
            return Array(_tuple(elements))
        case ["Map", [key, value]]:
            return Map(_map_key(key), _type(value))
        case ["Variant", members]:
            return _variant([_type(member) for member in members])
        case ["Dynamic" | "Geometry", *_]:
            return AnyText(nullable=True)
        case ["JSON" | "Object", *_]:
            return JsonText(nullable=True)
        case ["Nothing"]:
            return Nothing(nullable=True)
        case ["Bool"]:
            return Boolean()
        case ["Float32" | "BFloat16"]:
            return Float(single=True)
        case ["Float64"]:
            return Float()
        case ["Date" | "Date32"]:
            return Date()
        case ["Time"]:
            return Time(0)
        case ["Time64", [[scale]]] if re.fullmatch("[0-9]", scale):
            return Time(int(scale))
        case ["DateTime"]:
            return Timestamp(0, UTC)
        case ["DateTime", [[zone]]]:
            return Timestamp(0, _zone(_unescape(zone[1:-1])))
        case ["DateTime64", [[scale], *zones]] if re.fullmatch("[0-9]", scale) and len(zones) < 2:
            zone = _zone(_unescape(zones[0][0][1:-1])) if zones else UTC
            return Timestamp(int(scale), zone) if int(scale) <= 6 else NanoTimestamp(int(scale), zone)
        case ["Decimal", [[precision], [scale]]]:
            return _decimal(precision, scale)
        case ["Decimal32" | "Decimal64" | "Decimal128" | "Decimal256" as word, [[scale]]]:
            return _decimal({"32": "9", "64": "18", "128": "38", "256": "76"}[word[7:]], scale)
        case ["UUID"]:
            return Uuid()
        case ["IPv4" | "IPv6" as word]:
            return Address(int(word[3]))
        case ["Point"]:
            return Tuple((Float(), Float()))
        case ["Ring" | "LineString"]:
            return Array(_type(["Point"]))
        case ["Polygon" | "MultiLineString"]:
            return Array(_type(["Ring"]))
        case ["MultiPolygon"]:
            return Array(_type(["Polygon"]))
        case [str(word)] if integer := re.fullmatch("(U?)Int(8|16|32|64|128|256)", word):
            return Integer(int(integer[2]), signed=not integer[1])
        case [str(word)] if re.fullmatch("Interval[A-Z][a-z]+", word):
            return Integer(64, signed=True)
    raise ValueError(words)


def _tuple(elements: list[list[Any]]) -> ColumnType:
    if elements == [[]]:
        return Tuple(())
    names = [element[0] for element in elements if len(element) > 1 and isinstance(element[1], str)]
    if not names:
        return Tuple(tuple(map(_type, elements)))
    names = [_unescape(name[1:-1]) if name[0] == "`" else name for name in names]
    if len(set(names)) != len(elements) or not "".join(names).encode():
        raise ValueError(names)
    return Record(tuple(_type(element[1:]) for element in elements), tuple(names))


def _map_key(words: list[Any]) -> ColumnType:
    key = _type(words)
    if key.nullable or not _is_hashable(key):
        raise ValueError(words)
    return key


def _is_hashable(type_: ColumnType) -> bool:
    return isinstance(type_, Scalar) or (type(type_) is Tuple and all(map(_is_hashable, type_.elements)))


def _variant(members: list[ColumnType]) -> ColumnType:
    """Return one type for numbers of several; all else stays text, which does not say of which type it is."""
    if not all(type(member) in (Integer, Float, Exact) for member in members):
        return AnyText(nullable=True)
    integers = [member for member in members if isinstance(member, Integer)]
    exact = [member for member in members if isinstance(member, Exact)]
    if len(integers) == len(members):
        return replace(_common_integer(integers), nullable=True)
    if len(integers) + len(exact) == len(members):
        whole = max([39 if i.bits == 128 else 78 if i.bits == 256 else 20 for i in integers] or [0])
        places = max(e.places for e in exact)
        digits = max(whole, *(e.digits - e.places for e in exact)) + places
        return Exact(digits, places, nullable=True) if digits <= 76 else AnyText(nullable=True)
    if exact or any(integer.bits > 64 for integer in integers):
        return AnyText(nullable=True)
    return Number(nullable=True)


def _common_integer(integers: list[Integer]) -> Integer:
    signed = any(integer.signed for integer in integers)
    bits = max(i.bits * 2 if signed and not i.signed else i.bits for i in integers)
    if bits > 256:
        raise ValueError(integers)
    return Integer(bits, signed)


def _decimal(precision: str, scale: str) -> Exact:
    if not re.fullmatch(r"\d{1,2} \d{1,2}", f"{precision} {scale}", re.ASCII):
        raise ValueError(precision, scale)
    digits, places = int(precision), int(scale)
    if not places <= digits <= 76 or not digits:
        raise ValueError(precision, scale)
    return Exact(digits, places)


def _zone(key: str) -> ZoneInfo:
    try:
        return ZoneInfo(key)
    except (LookupError, ValueError, OSError):
        raise ValueError(key) from None


# Types of one value


class Scalar(ColumnType):
    """A type of one value, which stands alone as it stands within others, but for quotes."""

    def from_text(self, text: str) -> Any:
        """Return the value that a text stands for."""
        raise NotImplementedError

    def _read(self, cell: Any) -> Any:
        match cell:
            case str():
                return self.from_text(cell)
            case bytes():
                return self.from_text(cell.decode())
            case bool():
                return self.from_text(str(cell))
        raise ValueError(cell)

    def _scan(self, text: str, start: int) -> tuple[Any, int]:
        token = _token(text, start)
        return self.from_text(token.text), token.end


@dataclass(frozen=True)
class Integer(Scalar):
    """Integers of so many bits."""

    bits: int
    signed: bool

    def from_text(self, text: str) -> int:
        """Return the integer."""
        value = int(_matching(_INTEGER, text))
        low, high = (-(2 ** (self.bits - 1)), 2 ** (self.bits - 1)) if self.signed else (0, 2**self.bits)
        if not low <= value < high:
            raise ValueError(text)
        return value

    def _plain(self, held: int) -> int | str:
        return held if self.bits <= 64 else str(held)

    _stored = _plain

    def _arrow(self, pa: Any) -> Any:
        if self.bits > 64:
            return pa.string()
        return getattr(pa, f"{'' if self.signed else 'u'}int{self.bits}")()


@dataclass(frozen=True)
class Float(Scalar):
    """Float64; or Float32 and BFloat16, whose texts are shorter than their values."""

    single: bool = False

    def from_text(self, text: str) -> float:
        """Return the float."""
        value = float(_matching(_FLOAT, text))
        return float(struct.unpack("<f", struct.pack("<f", value))[0]) if self.single else value

    def _plain(self, held: float) -> float | str:
        return _finite(held)

    def _arrow(self, pa: Any) -> Any:
        return pa.float32() if self.single else pa.float64()


def _finite(value: float) -> float | str:
    """Return a float, or the text of one that JSON does not have."""
    return value if math.isfinite(value) else str(value)


class Number(Scalar):
    """A Variant of floats and integers: an int where the text is that of one, else a float."""

    def from_text(self, text: str) -> float:
        """Return the number."""
        value = float(_matching(_FLOAT, text))
        if not _INTEGER.fullmatch(text):
            return value
        # The shortest text of a large float may be that of another integer than the float is.
        if value != int(text) and Decimal(repr(value)) == int(text):
            raise ValueError(text)
        return int(text)

    def _plain(self, held: float) -> float | str:
        return _finite(held)

    def _stored(self, held: float) -> float:
        if isinstance(held, int) and float(held) != held:
            raise ValueError(held)
        return float(held)

    def _arrow(self, pa: Any) -> Any:
        return pa.float64()


@dataclass(frozen=True)
class Exact(Scalar):
    """Decimals of so many digits, of which so many are decimal places."""

    digits: int
    places: int

    def from_text(self, text: str) -> Decimal:
        """Return the decimal."""
        value = Decimal(_matching(_DECIMAL, text))
        _, digits, exponent = value.as_tuple()
        significant = "".join(map(str, digits)).rstrip("0")
        places = -int(exponent) - (len(digits) - len(significant))
        if significant and (places > self.places or len(significant) - places > self.digits - self.places):
            raise ValueError(text)
        return value

    def _plain(self, held: Decimal) -> str:
        return f"{held:f}"

    def _stored(self, held: Decimal) -> Decimal | str:
        if self.digits > 38:
            return f"{held:f}"
        # With no more decimal places than the type has: pyarrow takes others for a loss.
        return held.quantize(Decimal(1).scaleb(-self.places), context=_WIDE)

    def _arrow(self, pa: Any) -> Any:
        return pa.decimal128(self.digits, self.places) if self.digits <= 38 else pa.string()


class Boolean(Scalar):
    """True or false."""

    def from_text(self, text: str) -> bool:
        """Return the boolean."""
        if text in TRUE_WORDS:
            return True
        if text in FALSE_WORDS:
            return False
        raise ValueError(text)

    def _arrow(self, pa: Any) -> Any:
        return pa.bool_()


class Date(Scalar):
    """Days."""

    def from_text(self, text: str) -> date:
        """Return the day."""
        return date.fromisoformat(_matching(_DATE, text))

    def _plain(self, held: date) -> str:
        return held.isoformat()

    def _arrow(self, pa: Any) -> Any:
        return pa.date32()


@dataclass(frozen=True)
class Timestamp(Scalar):
    """Points in time with so many decimal places of a second; a text without an offset is in the zone."""

    scale: int
    zone: tzinfo

    def from_text(self, text: str) -> Any:
        """Return the time, to the microsecond."""
        return self._split(text)[0]

    def _split(self, text: str) -> tuple[datetime, str]:
        """Return the time, and the digits beyond its microseconds."""
        match = _TIMESTAMP.fullmatch(text)
        if not match:
            raise ValueError(text)
        day, clock, fraction, offset = match.groups("")
        if fraction[self.scale :].strip("0"):
            raise ValueError(text)
        fraction = fraction.ljust(9, "0")
        time = datetime.fromisoformat(f"{day}T{clock}.{fraction[:6]}{offset}")
        if time.tzinfo:
            return time.astimezone(self.zone), fraction[6:]
        time = time.replace(tzinfo=self.zone)
        # In the hours that a change of clocks repeats or leaves out, the text does not tell the time.
        if time.utcoffset() != time.replace(fold=1).utcoffset():
            raise UnreadableCellError(
                text, "Clocks were changed there: let the SQL return toTimeZone(column, 'UTC')."
            )
        return time, fraction[6:]

    @property
    def unit(self) -> str:
        """Arrow's unit."""
        return _unit(self.scale)

    def _plain(self, held: Any) -> str:
        timespec = {"s": "seconds", "ms": "milliseconds", "us": "microseconds"}[self.unit]
        iso: str = held.isoformat(timespec=timespec)
        return iso

    def _arrow(self, pa: Any) -> Any:
        return pa.timestamp(self.unit, self.zone.key if isinstance(self.zone, ZoneInfo) else "UTC")


class NanoTimestamp(Timestamp):
    """Points in time finer than microseconds: held as the text of ISO 8601."""

    def from_text(self, text: str) -> str:
        """Return the time's text."""
        time, finer = self._split(text)
        iso = time.isoformat(timespec="microseconds")
        return iso[:26] + finer + iso[26:]

    def _plain(self, held: str) -> str:
        return held

    def _stored(self, held: str) -> int:
        since = datetime.fromisoformat(held[:26] + held[29:]) - _EPOCH
        value = since // timedelta(microseconds=1) * 1000 + int(held[26:29])
        if value not in _NANOSECONDS:
            raise ValueError(held)
        return value


@dataclass(frozen=True)
class Time(Scalar):
    """Spans of less than 1000 hours with so many decimal places of a second: held as nanoseconds."""

    scale: int

    def from_text(self, text: str) -> int:
        """Return the nanoseconds."""
        match = _TIME.fullmatch(text)
        if not match:
            raise ValueError(text)
        days, sign, *clock, fraction = match.groups("")
        hours, minutes, seconds = map(int, clock)
        if (days and (sign or hours > 23)) or fraction[self.scale :].strip("0"):
            raise ValueError(text)
        span = ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds
        nanoseconds = span * 10**9 + int(fraction.ljust(9, "0"))
        if abs(nanoseconds) > _LONGEST_TIME:
            raise ValueError(text)
        return -nanoseconds if sign else nanoseconds

    def _value(self, held: int) -> timedelta | str:
        return timedelta(microseconds=held // 1000) if self.scale <= 6 else self._plain(held)

    def _plain(self, held: int) -> str:
        seconds, nanoseconds = divmod(abs(held), 10**9)
        text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        fraction = f".{nanoseconds:09}"[: self.scale + 1] if self.scale else ""
        return f"{'-' if held < 0 else ''}{text}{fraction}"

    def _stored(self, held: int) -> int:
        return held // {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[_unit(self.scale)]

    def _arrow(self, pa: Any) -> Any:
        return pa.duration(_unit(self.scale))


def _unit(scale: int) -> str:
    return "s" if scale == 0 else "ms" if scale <= 3 else "us" if scale <= 6 else "ns"


class _String(Scalar):
    """What is a string in Arrow, too."""

    def _stored(self, held: str) -> str:
        held.encode()  # a lone surrogate is no text
        return held

    def _arrow(self, pa: Any) -> Any:
        return pa.string()


class Uuid(_String):
    """UUIDs."""

    def from_text(self, text: str) -> str:
        """Return the UUID in lower case."""
        return _matching(_UUID, text).lower()


@dataclass(frozen=True)
class Address(_String):
    """IP addresses of a version."""

    version: int

    def from_text(self, text: str) -> str:
        """Return the address as it is."""
        (ipaddress.IPv4Address if self.version == 4 else ipaddress.IPv6Address)(text)
        return text


class Nothing(_String):
    """What can only be NULL."""

    def from_text(self, text: str) -> str:
        """Refuse any text."""
        raise ValueError(text)


class Text(_String):
    """Strings: quoted within others."""

    def null_words(self) -> frozenset[str]:
        """Return the words for NULL where text can be meant."""
        return NULL_WORDS if self.nulls_in_words else frozenset()

    def from_text(self, text: str) -> str:
        """Return the text."""
        return text

    def _read(self, cell: Any) -> Any:
        if not isinstance(cell, str):
            raise ValueError(cell)
        return self.from_text(cell)

    def _scan(self, text: str, start: int) -> tuple[Any, int]:
        token = _token(text, start)
        if not token.quoted:
            raise ValueError(token.text)
        return self.from_text(token.text), token.end


@dataclass(frozen=True)
class FixedText(Text):
    """Strings of so many bytes of UTF-8, filled up with NUL."""

    size: int

    def from_text(self, text: str) -> str:
        """Return the text; of what is no UTF-8 there is none."""
        missing = self.size - len(text.encode())
        if missing >= 0:
            return text + "\0" * missing
        try:
            value: bytes = ast.literal_eval(_matching(_BYTES, text))
            if len(value) == self.size:
                return value.decode()
        except (ValueError, SyntaxError):
            pass
        raise UnreadableCellError(text, "It is no UTF-8: let the SQL return hex(column).")


class AnyText(Text):
    """What stays text, for it does not say of which type it is; what is no string, as JSON."""

    def _read(self, cell: Any) -> str:
        return cell if isinstance(cell, str) else json_text(cell)

    def _scan(self, text: str, start: int) -> tuple[Any, int]:
        held, end = _scan_any(text, start)
        return self._read(held), end


class JsonText(AnyText):
    """JSON, as its text."""

    def null_words(self) -> frozenset[str]:
        """Return the words for NULL, none of which is JSON."""
        return ALL_NULL_WORDS

    def _read(self, cell: Any) -> str:
        if not isinstance(cell, str):
            return json_text(cell)
        try:
            json.loads(cell)
        except ValueError:
            held, end = _scan_any(cell, 0)
            if not isinstance(held, dict) or cell[end:].strip():
                raise
            return json_text(held)
        return cell


# Types of many values


class _Many(ColumnType):
    """A type of values in brackets."""

    def _read(self, cell: Any) -> Any:
        if not isinstance(cell, str):
            return self._gather(cell)
        held, end = self._scan(cell, 0)
        if cell[end:].strip():
            raise ValueError(cell)
        return held

    def _gather(self, cell: Any) -> Any:
        """Read a natural list or object."""
        raise NotImplementedError


@dataclass(frozen=True)
class Array(_Many):
    """Lists of a type."""

    element: ColumnType

    def _gather(self, cell: Any) -> list[Any]:
        if not isinstance(cell, list):
            raise ValueError(cell)
        return list(map(self.element._read_element, cell))

    def _scan(self, text: str, start: int) -> tuple[list[Any], int]:
        return _scan_list(text, start, "[]", repeat(self.element._scan_element))

    def _value(self, held: list[Any]) -> list[Any]:
        return [_optional(self.element._value, item) for item in held]

    def _plain(self, held: list[Any]) -> list[Any]:
        return [_optional(self.element._plain, item) for item in held]

    def _stored(self, held: list[Any]) -> list[Any]:
        return [_optional(self.element._stored, item) for item in held]

    def _arrow(self, pa: Any) -> Any:
        return pa.list_(self.element._arrow(pa))


@dataclass(frozen=True)
class Tuple(_Many):
    """Values of several types."""

    elements: tuple[ColumnType, ...]

    def _gather(self, cell: Any) -> tuple[Any, ...]:
        if not isinstance(cell, list):
            raise ValueError(cell)
        return tuple(element._read_element(item) for element, item in zip(self.elements, cell, strict=True))

    def _scan(self, text: str, start: int) -> tuple[Any, int]:
        values, end = _scan_list(text, start, "()", [element._scan_element for element in self.elements])
        if len(values) != len(self.elements):
            raise ValueError(text)
        return tuple(values), end

    def _forms(self, form: str, held: Any) -> Iterable[Any]:
        for element, item in zip(self.elements, held, strict=True):
            yield _optional(getattr(element, form), item)

    def _value(self, held: Any) -> Any:
        return tuple(self._forms("_value", held))

    def _plain(self, held: Any) -> Any:
        return list(self._forms("_plain", held))

    def _stored(self, held: Any) -> Any:
        return tuple(self._forms("_stored", held)) if self.elements else []

    def _names(self) -> Iterable[str]:
        return map(str, range(1, len(self.elements) + 1))

    def _arrow(self, pa: Any) -> Any:
        if not self.elements:  # Parquet has no struct without fields
            return pa.list_(pa.string())
        return pa.struct(
            [(name, element._arrow(pa)) for name, element in zip(self._names(), self.elements, strict=True)]
        )


@dataclass(frozen=True)
class Record(Tuple):
    """Values of several types, each with a name."""

    names: tuple[str, ...]

    def _gather(self, cell: Any) -> tuple[Any, ...]:
        if isinstance(cell, dict) and len(cell) == len(self.names):
            cell = [cell[name] for name in self.names]
        return super()._gather(cell)

    def _scan(self, text: str, start: int) -> tuple[Any, int]:
        if not _PUNCTUATION["{"].match(text, start):
            return super()._scan(text, start)
        pairs, end = _scan_list(text, start, "{}", repeat(self._scan_named))
        held = dict(pairs)
        if len(pairs) != len(self.names):
            raise ValueError(text)
        return tuple(held[name] for name in self.names), end

    def _scan_named(self, text: str, start: int) -> tuple[tuple[str, Any], int]:
        name = _token(text, start)
        element = self.elements[self.names.index(name.text)]
        value, end = element._scan_element(text, _skip(text, name.end, ":"))
        return (name.text, value), end

    def _value(self, held: Any) -> dict[str, Any]:
        return dict(zip(self.names, super()._value(held), strict=True))

    def _plain(self, held: Any) -> dict[str, Any]:
        return dict(zip(self.names, super()._plain(held), strict=True))

    def _stored(self, held: Any) -> dict[str, Any]:
        return dict(zip(self.names, super()._stored(held), strict=True))

    def _names(self) -> Iterable[str]:
        return self.names


@dataclass(frozen=True)
class Map(_Many):
    """Keys and values: held as pairs, for ClickHouse allows a key twice."""

    key: ColumnType
    element: ColumnType

    def _gather(self, cell: Any) -> list[tuple[Any, Any]]:
        pairs = cell.items() if isinstance(cell, dict) else cell
        return [(self.key._read_element(key), self.element._read_element(item)) for key, item in pairs]

    def _scan(self, text: str, start: int) -> tuple[list[tuple[Any, Any]], int]:
        return _scan_list(text, start, "{}", repeat(self._scan_pair))

    def _scan_pair(self, text: str, start: int) -> tuple[tuple[Any, Any], int]:
        key, end = self.key._scan_element(text, start)
        value, end = self.element._scan_element(text, _skip(text, end, ":"))
        return (key, value), end

    def _value(self, held: list[tuple[Any, Any]]) -> dict[Any, Any]:
        return _dict(
            [(_optional(self.key._value, key), _optional(self.element._value, item)) for key, item in held]
        )

    def _plain(self, held: list[tuple[Any, Any]]) -> dict[str, Any]:
        keys = [_optional(self.key._plain, key) for key, _ in held]
        items = [_optional(self.element._plain, item) for _, item in held]
        names = [key if isinstance(key, str) else json.dumps(key) for key in keys]
        return _dict(list(zip(names, items, strict=True)))

    def _stored(self, held: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        return [
            (_optional(self.key._stored, key), _optional(self.element._stored, item)) for key, item in held
        ]

    def _arrow(self, pa: Any) -> Any:
        return pa.map_(self.key._arrow(pa), self.element._arrow(pa))


def _dict(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):  # a dict would forget one
        raise ValueError(pairs)
    return found


# Text


class _Token(NamedTuple):
    text: str
    quoted: bool
    end: int


def _token(text: str, start: int) -> _Token:
    """Return the scalar that starts there; what Python calls a constructor for, as ``str()`` writes it."""
    match = _TOKEN.match(text, start)
    if not match:
        raise ValueError(text[start:])
    match match.lastgroup:
        case "quoted":
            return _Token(_unescape(match["quoted"][1:-1]), True, match.end())
        case "bare" | "wrapped" as group:
            return _Token(match[group], False, match.end())
        case "bytes":
            return _Token(match["bytes"], True, match.end())
        case "date":
            return _Token(str(date(*_numbers(match["date"]))), False, match.end())
        case "timedelta":
            return _Token(str(_timedelta(match["timedelta"])), False, match.end())
    return _Token(str(_datetime(match)), False, match.end())


def _numbers(text: str) -> Any:
    return map(int, text.split(", "))


def _timedelta(arguments: str) -> timedelta:
    if arguments == "0":
        return timedelta()
    pairs = (argument.split("=") for argument in arguments.split(", "))
    return timedelta(**{name: int(number) for name, number in pairs})


def _datetime(match: re.Match[str]) -> datetime:
    zone: tzinfo | None = None
    if match["key"]:
        zone = _zone(match["key"])
    elif match["seconds"]:
        zone = timezone(timedelta(days=int(match["days"] or 0), seconds=int(match["seconds"])))
    elif match["zone"]:
        zone = UTC
    time = datetime(*_numbers(match["datetime"]))
    return time.replace(tzinfo=zone, fold=int(match["fold"] or 0))


def _scan_any(text: str, start: int) -> tuple[Any, int]:
    """Read a value of any type as JSON would have it: lists, dicts, and a number as the bytes of its text."""
    for brackets in ("[]", "()"):
        if _PUNCTUATION[brackets[0]].match(text, start):
            return _scan_list(text, start, brackets, repeat(_scan_any))
    if _PUNCTUATION["{"].match(text, start):
        pairs, end = _scan_list(text, start, "{}", repeat(_scan_any_pair))
        return _dict(pairs), end
    token = _token(text, start)
    if token.quoted:
        return token.text, token.end
    if token.text in BARE_NULLS:
        return None, token.end
    if token.text in ("true", "True", "false", "False"):
        return token.text in TRUE_WORDS, token.end
    return (token.text.encode() if _JSON_NUMBER.fullmatch(token.text) else token.text), token.end


def _scan_any_pair(text: str, start: int) -> tuple[tuple[str, Any], int]:
    key = _token(text, start)
    value, end = _scan_any(text, _skip(text, key.end, ":"))
    return (key.text, value), end


def json_text(held: Any) -> str:
    """Return the JSON text of a natural cell, compact, with its numbers as they were written."""
    match held:
        case bytes():
            number = held.decode()
            return number if _JSON_NUMBER.fullmatch(number) else json.dumps(number)
        case list():
            return f"[{','.join(map(json_text, held))}]"
        case dict():
            return f"{{{','.join(f'{json_text(key)}:{json_text(item)}' for key, item in held.items())}}}"
    return json.dumps(held, ensure_ascii=False)


def _unescape(text: str) -> str:
    return _ESCAPE.sub(_unescaped, text) if "\\" in text else text


def _unescaped(escape: re.Match[str]) -> str:
    code = escape[1]
    return chr(int(code[1:], 16)) if len(code) > 1 else _ESCAPES[code]


def _matching(pattern: re.Pattern[str], text: str) -> str:
    """Return the text if all of it matches: Python's own constructors take more than ClickHouse writes."""
    if pattern.fullmatch(text):
        return text
    raise ValueError(text)


def _scan_list(
    text: str, start: int, brackets: str, scans: Iterable[Callable[[str, int], tuple[Any, int]]]
) -> tuple[list[Any], int]:
    values: list[Any] = []
    end = _skip(text, start, brackets[0])
    for scan in scans:
        if _PUNCTUATION[brackets[1]].match(text, end):
            break
        value, end = scan(text, end)
        values.append(value)
        comma = _PUNCTUATION[","].match(text, end)
        if not comma:
            break
        end = comma.end()  # one may also follow the last value: Python writes (1,)
    return values, _skip(text, end, brackets[1])


def _skip(text: str, start: int, character: str) -> int:
    match = _PUNCTUATION[character].match(text, start)
    if not match:
        raise ValueError(text)
    return match.end()
