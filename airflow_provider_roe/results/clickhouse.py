"""
ClickHouse's column types, without I/O: from a type's name to what reads its cells.

Roe sends every cell as a string. They are read as ClickHouse writes them in its text formats: ``['a','b']``,
``(1,'x')``, ``{'k':1}``, strings within them quoted and escaped. A cell is read to its exact value or not at
all; a type that is not known here leaves its cells as strings.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: How NULL is written in a cell; the latter two only where no string can be meant.
_NULLS = frozenset({"\\N", "ᴺᵁᴸᴸ"})
_BARE_NULLS = _NULLS | {"NULL", "None"}
_BARE_NULL = re.compile(r"\s*(?:NULL|None)(?=\s*[,:)\]}])")
_BOOLS = {"true": True, "false": False, "True": True, "False": False, "1": True, "0": False}
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "0": "\0", "a": "\a", "v": "\v"}
_ESCAPES |= {c: c for c in "\\'\"`/"}

_INTEGER = re.compile(r"-?\d+", re.ASCII)
_FLOAT = re.compile(r"-?(?:\d+(?:\.\d*)?(?:e[+-]?\d+)?|inf|nan)", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)?",
    re.ASCII,
)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_TYPE = re.compile(r"\s*(\w+)\s*(?:\((.*)\))?\s*", re.DOTALL)
_TYPE_PIECE = re.compile(r"""'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`|[(),]|[^'`(),]+""", re.DOTALL)
_ELEMENT = re.compile(r"\s*(`(?:[^`\\]|\\.)*`|\w+)\s+(\w.*)", re.DOTALL)
_TOKEN = re.compile(
    r"""\s*(?:'([^'\\]*(?:\\.[^'\\]*)*)'|"([^"\\]*(?:\\.[^"\\]*)*)"|([^\s,:()\[\]{}'"]+))""", re.DOTALL
)
_PUNCTUATION = {character: re.compile(rf"\s*\{character}") for character in "[](){},:"}
_NANOSECONDS = range(-(2**63), 2**63)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _UnknownType(Exception):
    """A type that is not known here, or not all of it."""


@dataclass(frozen=True, kw_only=True)
class ColumnType:
    """
    A column's type: reads its cells.

    :param nullable: Whether a cell can say NULL in words; a cell that is None is NULL in any case.
    """

    nullable: bool = False

    def text(self, cell: str | None) -> str | None:
        """Return a cell as it is, or None for NULL."""
        return None if self.nullable and cell in self._nulls else cell

    def value(self, cell: str | None) -> Any:
        """
        Return a cell as the Python value that it stands for.

        Integers of any width are ``int``, Decimal is :class:`~decimal.Decimal`, Date and Date32 are
        :class:`~datetime.date`, DateTime and DateTime64 are :class:`~datetime.datetime`: aware where the type
        names a time zone, naive where not. DateTime64 finer than microseconds, for which Python has no type,
        is a string of ISO 8601. Arrays are lists, tuples are tuples or, with named elements, dicts; maps are
        dicts. All else is ``str``.

        :raises ValueError: The cell cannot be read as this type.
        """
        try:
            return None if (text := self.text(cell)) is None else self._read(text)
        except (LookupError, ArithmeticError) as e:
            raise ValueError(cell) from e

    def plain(self, cell: str | None) -> Any:
        """
        Return a cell as a value that JSON, and Airflow's XCom, can carry without loss.

        As :meth:`value`, but times are strings of ISO 8601; Decimals, integers wider than 64 bits and floats
        that are not finite are strings; tuples are lists, a map's keys are strings.

        :raises ValueError: The cell cannot be read as this type.
        """
        return None if (value := self.value(cell)) is None else self._plain(value)

    def stored(self, cell: str | None) -> Any:
        """
        Return a cell as a value from which pyarrow makes one of :meth:`arrow`.

        :raises ValueError: The cell cannot be read as this type.
        """
        return None if (value := self.value(cell)) is None else self._stored(value)

    def arrow(self) -> Any:
        """
        Return the Arrow type.

        Integers wider than 64 bits and Decimals of more than 38 digits are strings: Arrow has no room for the
        widest, and common readers of Parquet refuse a whole file for the others. Times are ``timestamp`` in
        the type's own unit and zone, a tuple is a ``struct``, whose fields are called 1, 2, … where the
        tuple's elements have no names.

        :raises ImportError: pyarrow is not installed.
        """
        raise NotImplementedError

    # What a type is made of

    _nulls = _BARE_NULLS

    def _read(self, text: str) -> Any:
        value, end = self._scan(text, 0)
        if text[end:].strip():
            raise ValueError(text)
        return value

    def _scan(self, text: str, start: int) -> tuple[Any, int]:
        """Read the value that starts there, within others; return it and where it ends."""
        raise NotImplementedError

    def _scan_nullable(self, text: str, start: int) -> tuple[Any, int]:
        if self.nullable and (null := _BARE_NULL.match(text, start)):
            return None, null.end()
        return self._scan(text, start)

    def _plain(self, value: Any) -> Any:
        return value

    def _stored(self, value: Any) -> Any:
        return value

    def _plain_nullable(self, value: Any) -> Any:
        return None if value is None else self._plain(value)

    def _stored_nullable(self, value: Any) -> Any:
        return None if value is None else self._stored(value)


def column_type(name: str) -> ColumnType:
    """
    Return what reads the cells of a column.

    :param name: ClickHouse's name of the type, such as ``Array(Nullable(Decimal(18, 4)))``. One that is not
        known, or of which a part is not, gives a type whose cells are strings.
    """
    try:
        return _parse(name)
    except (_UnknownType, RecursionError):
        return _Text(nullable=bool(re.match(r"\s*(LowCardinality\()?Nullable\(", name)))


def _parse(name: str) -> ColumnType:
    match _split(name):
        case "String" | "FixedString" | "Enum" | "Enum8" | "Enum16", _:
            return _Text()
        case "LowCardinality", [inner]:
            return _parse(inner)
        case "Nullable", [inner]:
            return replace(_parse(inner), nullable=True)
        case "Array", [inner]:
            return _Array(_parse(inner))
        case "Tuple", [_, *_] as elements:
            return _tuple(elements)
        case "Map", [key, value]:
            if isinstance(key_type := _parse(key), _Scalar):
                return _Map(key_type, _parse(value))
        case "Bool", []:
            return _Scalar(_BOOLS.__getitem__, lambda pa: pa.bool_())
        case "Float32" | "Float64" | "BFloat16" as word, []:
            return _Scalar(
                _float, lambda pa: pa.float64() if word == "Float64" else pa.float32(), _plain_float
            )
        case "Date" | "Date32", []:
            return _Scalar(_date, lambda pa: pa.date32(), date.isoformat)
        case "DateTime", zone if len(zone) < 2:
            return _time(0, *zone)
        case "DateTime64", [scale, *zone] if len(zone) < 2 and re.fullmatch("[0-9]", scale):
            return _time(int(scale), *zone)
        case "Decimal", [precision, scale]:
            return _decimal(precision, scale)
        case "Decimal32" | "Decimal64" | "Decimal128" | "Decimal256" as word, [scale]:
            return _decimal({"32": "9", "64": "18", "128": "38", "256": "76"}[word[7:]], scale)
        case "UUID", []:
            return _Scalar(_uuid, lambda pa: pa.string())
        case "IPv4" | "IPv6", []:
            return _Scalar(str, lambda pa: pa.string())
        case word, [] if integer := re.fullmatch("(U?)Int(8|16|32|64|128|256)", word):
            return _integer(int(integer[2]), signed=not integer[1])
    raise _UnknownType(name)


def _split(name: str) -> tuple[str, list[str]]:
    """Split ``Name(argument, argument)``, whose arguments may be quoted or have arguments of their own."""
    if not (match := _TYPE.fullmatch(name)):
        raise _UnknownType(name)
    arguments, depth = [""], 0
    for piece in _TYPE_PIECE.findall(match[2] or ""):
        depth += (piece == "(") - (piece == ")")
        if piece == "," and depth == 0:
            arguments.append("")
        else:
            arguments[-1] += piece
    return match[1], [argument.strip() for argument in arguments] if match[2] else []


# Scalars


@dataclass(frozen=True)
class _Scalar(ColumnType):
    """A type of one value: how its text is read, its Arrow type, what JSON and Arrow take for its values."""

    read: Callable[[str], Any]
    make_arrow: Callable[[Any], Any]
    make_plain: Callable[[Any], Any] | None = None
    make_stored: Callable[[Any], Any] | None = None

    def _read(self, text: str) -> Any:
        return self.read(text)

    def _scan(self, text: str, start: int) -> tuple[Any, int]:
        token = _token(text, start)
        return self._read(token.text), token.end

    def _plain(self, value: Any) -> Any:
        return self.make_plain(value) if self.make_plain else value

    def _stored(self, value: Any) -> Any:
        return self.make_stored(value) if self.make_stored else value

    def arrow(self) -> Any:
        import pyarrow

        return self.make_arrow(pyarrow)


@dataclass(frozen=True)
class _Text(_Scalar):
    read: Callable[[str], Any] = str
    make_arrow: Callable[[Any], Any] = lambda pa: pa.string()

    _nulls = _NULLS

    def _scan(self, text: str, start: int) -> tuple[Any, int]:
        token = _token(text, start)
        if not token.quoted:
            raise ValueError(token.text)
        return token.text, token.end


class _Token(NamedTuple):
    text: str
    quoted: bool
    end: int


def _token(text: str, start: int) -> _Token:
    if not (match := _TOKEN.match(text, start)):
        raise ValueError(text[start:])
    if match[3]:
        return _Token(match[3], False, match.end())
    return _Token(_unescape(match[1] or match[2] or ""), True, match.end())


def _unescape(text: str) -> str:
    return (
        re.sub(r"\\(.)", lambda escape: _ESCAPES[escape[1]], text, flags=re.DOTALL) if "\\" in text else text
    )


def _matching(pattern: re.Pattern[str], text: str) -> str:
    """Return the text if all of it matches: Python's own constructors take more than ClickHouse writes."""
    if pattern.fullmatch(text):
        return text
    raise ValueError(text)


def _integer(bits: int, *, signed: bool) -> _Scalar:
    values = range(-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else range(2**bits)

    def read(text: str) -> int:
        value = int(_matching(_INTEGER, text))
        if value not in values:
            raise ValueError(text)
        return value

    if bits <= 64:
        return _Scalar(read, lambda pa: getattr(pa, f"{'' if signed else 'u'}int{bits}")())
    return _Scalar(read, lambda pa: pa.string(), str, str)


def _float(text: str) -> float:
    return float(_matching(_FLOAT, text))


def _plain_float(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _decimal(precision: str, scale: str) -> _Scalar:
    if not re.fullmatch(r"\d{1,2} \d{1,2}", f"{precision} {scale}", re.ASCII):
        raise _UnknownType
    digits, places = int(precision), int(scale)
    if not places <= digits <= 76 or not digits:
        raise _UnknownType
    pattern = re.compile(rf"-?0*\d{{0,{digits - places}}}(?:\.\d{{0,{places}}}0*)?", re.ASCII)

    def read(text: str) -> Decimal:
        return Decimal(_matching(pattern, text))

    def plain(value: Decimal) -> str:
        return f"{value:f}"

    if digits <= 38:
        return _Scalar(read, lambda pa: pa.decimal128(digits, places), plain)
    return _Scalar(read, lambda pa: pa.string(), plain, plain)


def _date(text: str) -> date:
    return date.fromisoformat(_matching(_DATE, text))


def _uuid(text: str) -> str:
    return _matching(_UUID, text).lower()


def _time(scale: int, quoted_zone: str | None = None) -> _Scalar:
    zone = None
    if quoted_zone:
        try:
            zone = ZoneInfo(_unescape(quoted_zone[1:-1]))
        except (KeyError, ValueError, OSError):
            raise _UnknownType from None

    def read(text: str) -> tuple[datetime, str]:
        """Return the time, and the digits beyond its microseconds."""
        if not (match := _TIME.fullmatch(text)):
            raise ValueError(text)
        day, clock, fraction, offset = match.groups("")
        if fraction[scale:].strip("0"):
            raise ValueError(text)
        fraction = fraction.ljust(9, "0")
        time = datetime.fromisoformat(f"{day}T{clock}.{fraction[:6]}{offset}")
        if time.tzinfo:
            if not zone:
                raise ValueError(text)
            time = time.astimezone(zone)
        elif zone:
            time = time.replace(tzinfo=zone)
            # In the hours that a change of clocks repeats or leaves out, the text does not tell the time.
            if time.utcoffset() != time.replace(fold=1).utcoffset():
                raise ValueError(text)
        return time, fraction[6:]

    def arrow(pa: Any) -> Any:
        unit = "s" if scale == 0 else "ms" if scale <= 3 else "us" if scale <= 6 else "ns"
        return pa.timestamp(unit, zone and zone.key)

    if scale <= 6:
        timespec = "seconds" if scale == 0 else "milliseconds" if scale <= 3 else "microseconds"
        return _Scalar(lambda text: read(text)[0], arrow, lambda time: time.isoformat(timespec=timespec))

    def read_iso(text: str) -> str:
        time, finer = read(text)
        iso = time.isoformat(timespec="microseconds")
        return iso[:26] + finer + iso[26:]

    def nanoseconds(iso: str) -> int:
        time = datetime.fromisoformat(iso)
        since = (time if zone else time.replace(tzinfo=UTC)) - _EPOCH
        value = since // timedelta(microseconds=1) * 1000 + int(iso[26:29])
        if value not in _NANOSECONDS:
            raise ValueError(iso)
        return value

    return _Scalar(read_iso, arrow, None, nanoseconds)


# Types of many values


@dataclass(frozen=True)
class _Array(ColumnType):
    element: ColumnType

    def _scan(self, text: str, start: int) -> tuple[list[Any], int]:
        return _scan_list(text, start, "[]", repeat(self.element._scan_nullable))

    def _plain(self, value: list[Any]) -> list[Any]:
        return list(map(self.element._plain_nullable, value))

    def _stored(self, value: list[Any]) -> list[Any]:
        return list(map(self.element._stored_nullable, value))

    def arrow(self) -> Any:
        import pyarrow

        return pyarrow.list_(self.element.arrow())


@dataclass(frozen=True)
class _Tuple(ColumnType):
    elements: tuple[ColumnType, ...]

    def _scan(self, text: str, start: int) -> tuple[Any, int]:
        values, end = _scan_list(text, start, "()", [element._scan_nullable for element in self.elements])
        if len(values) != len(self.elements):
            raise ValueError(text)
        return tuple(values), end

    def _plain(self, value: Any) -> Any:
        return [element._plain_nullable(item) for element, item in zip(self.elements, value, strict=True)]

    def _stored(self, value: Any) -> Any:
        return tuple(
            element._stored_nullable(item) for element, item in zip(self.elements, value, strict=True)
        )

    def _names(self) -> Iterable[str]:
        return map(str, range(1, len(self.elements) + 1))

    def arrow(self) -> Any:
        import pyarrow

        return pyarrow.struct(
            [(name, element.arrow()) for name, element in zip(self._names(), self.elements, strict=True)]
        )


@dataclass(frozen=True)
class _NamedTuple(_Tuple):
    names: tuple[str, ...]

    def _named(self, values: Iterable[Any]) -> dict[str, Any]:
        return dict(zip(self.names, values, strict=True))

    def _scan(self, text: str, start: int) -> tuple[dict[str, Any], int]:
        values, end = super()._scan(text, start)
        return self._named(values), end

    def _plain(self, value: dict[str, Any]) -> dict[str, Any]:
        return self._named(super()._plain(value.values()))

    def _stored(self, value: dict[str, Any]) -> dict[str, Any]:
        return self._named(super()._stored(value.values()))

    def _names(self) -> Iterable[str]:
        return self.names


def _tuple(elements: list[str]) -> ColumnType:
    named = [match.groups() for match in map(_ELEMENT.fullmatch, elements) if match]
    if not named:
        return _Tuple(tuple(map(_parse, elements)))
    names = tuple(_unescape(name[1:-1]) if name[0] == "`" else name for name, _ in named)
    if len(set(names)) != len(elements):
        raise _UnknownType
    return _NamedTuple(tuple(_parse(element) for _, element in named), names)


@dataclass(frozen=True)
class _Map(ColumnType):
    key: _Scalar
    element: ColumnType

    def _scan(self, text: str, start: int) -> tuple[dict[Any, Any], int]:
        pairs, end = _scan_list(text, start, "{}", repeat(self._scan_pair))
        value = dict(pairs)
        if len(value) != len(pairs):  # ClickHouse allows a key twice, a dict would forget one
            raise ValueError(text)
        return value, end

    def _scan_pair(self, text: str, start: int) -> tuple[tuple[Any, Any], int]:
        key, end = self.key._scan_nullable(text, start)
        value, end = self.element._scan_nullable(text, _skip(text, end, ":"))
        return (key, value), end

    def _plain(self, value: dict[Any, Any]) -> dict[str, Any]:
        plain = (
            (self.key._plain_nullable(key), self.element._plain_nullable(item)) for key, item in value.items()
        )
        return {key if isinstance(key, str) else json.dumps(key): item for key, item in plain}

    def _stored(self, value: dict[Any, Any]) -> list[tuple[Any, Any]]:
        return [
            (self.key._stored_nullable(key), self.element._stored_nullable(item))
            for key, item in value.items()
        ]

    def arrow(self) -> Any:
        import pyarrow

        return pyarrow.map_(self.key.arrow(), self.element.arrow())


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
        if not (comma := _PUNCTUATION[","].match(text, end)):
            break
        end = comma.end()  # one may also follow the last value: Python writes (1,)
    return values, _skip(text, end, brackets[1])


def _skip(text: str, start: int, character: str) -> int:
    if match := _PUNCTUATION[character].match(text, start):
        return match.end()
    raise ValueError(text)
