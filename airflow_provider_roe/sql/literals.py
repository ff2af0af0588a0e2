"""
Values as literals of ClickHouse's SQL, exactly or not at all.

Values that share a type, as the items of a list do, are written together: what one of them needs, a wider
integer or more decimals, all of them get.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import chain, islice
from math import isfinite
from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow_provider_roe.exceptions import RoeInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

#: Written as bytes, \xHH: all that quotes, ends, comments or formats something in any SQL or template.
_SPECIAL = re.compile(r"[^\w .,:@=+<>!?&|~^()\[\]/-]|(?<=-)-|(?<=/)/")

_INT64, _UINT64 = range(-(2**63), 2**63), range(2**64)
_WIDE = {
    "Int128": range(-(2**127), 2**127),
    "Int256": range(-(2**255), 2**255),
    "UInt256": range(2**256),
}
_MAX_DIGITS = 76
_LONGEST = timedelta(hours=1000)

#: The parts of SQL in which a placeholder is none, and the placeholders. Open quotes reach to the end.
_TOKEN = re.compile(
    r"""
      (?P<quotes> '(?:[^'\\]|\\.?)*+(?:'|\Z) | "(?:[^"\\]|\\.?)*+(?:"|\Z) | `(?:[^`\\]|\\.?)*+(?:`|\Z)
                | \u2018[^\u2019]*+(?:\u2019|\Z) | \u201C[^\u201D]*+(?:\u201D|\Z) )
    | (?P<heredoc> \$(?P<tag>[A-Za-z0-9_]*)\$.*?\$(?P=tag)\$ )
    | (?P<comment> (?:--|//|\#)[^\n]* )
    | (?P<block> /\* )
    | (?P<percent> %(?:s|%|\((?P<name>[^()]*)\)s)? )
    | [A-Za-z_$][A-Za-z0-9_$]* | [0-9][A-Za-z0-9_.]* | .
    """,
    re.VERBOSE | re.DOTALL,
)
_PERCENT = re.compile(r"%(?:s|%|\([^()]*\)s)?")
_EDGE_OF_BLOCK = re.compile(r"/\*|\*/")
#: What a literal must not touch: 'a''b' is one string, 1 beside 0 is ten, and 1 beside .5 is one and a half.
_JOINS = re.compile(r"[\w.$'\"`\u2018\u2019\u201C\u201D]")


def literal(value: object) -> str:
    """
    Return the literal of a value, from which ClickHouse makes the same value again.

    A naive datetime is in UTC. A time or timedelta becomes a ``Time64``.

    :param value: None, a bool, int (up to 256 bits), float, Decimal (up to 76 digits), str, bytes, date,
        datetime (1900 to 2299), time, timedelta (below 1,000 hours), UUID, or a list, tuple or dict of such.
        The items of a list, and the keys and the values of a dict, are of one kind each.
    :raises RoeInputError: It cannot be written exactly.
    """
    try:
        return _texts([value])[0]
    except RecursionError:
        raise RoeInputError("A value is nested too deeply to be written as SQL.") from None


def bind(sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None, *, some: bool = False) -> str:
    """
    Return SQL with the literals of parameters in place of ``%s``, or of ``%(name)s``.

    Where there are parameters, be they empty, any other ``%`` is written ``%%``.

    :param sql: The text, with its placeholders outside quotes and comments.
    :param parameters: A list or tuple of values for ``%s``, or a dict of them for ``%(name)s``. With None the
        text is returned as it is.
    :param some: Whether names may be left over, because the dict serves other texts as well.
    :raises RoeInputError: A placeholder has no value, a value no placeholder, or one of them cannot be used.
    """
    if parameters is None:
        return sql
    if not isinstance(sql, str):
        raise RoeInputError(f"sql must be a text, where it has parameters, not a {_name(sql)}.")
    named = isinstance(parameters, Mapping)
    if not named and not isinstance(parameters, list | tuple):
        raise RoeInputError(f"parameters must be a list, a tuple or a dict, not a {_name(parameters)}.")

    parts: list[str] = []
    used: list[str | int] = []
    at = 0
    while at < len(sql):
        token: Any = _TOKEN.match(sql, at)
        end = _end_of_block(sql, at) if token["block"] else token.end()
        inside = token["quotes"] or token["heredoc"] or token["comment"] or token["block"]
        if inside:
            parts.append(_PERCENT.sub(_only_doubled, sql[at:end]))
        elif token["percent"] in ("%", "%%"):
            parts.append(_only_doubled(token))
        elif token["percent"]:
            key = _key(token, named, len(used))
            _check_apart(sql, at, end)
            parts.append(_value_literal(parameters, key))
            used.append(key)
        else:
            parts.append(token[0])
        at = end
    _check_all_used(parameters, used, some)
    return "".join(parts)


def _end_of_block(sql: str, start: int) -> int:
    """Return the end of a comment, which may hold others."""
    depth = 0
    for edge in _EDGE_OF_BLOCK.finditer(sql, start):
        depth += 1 if edge[0] == "/*" else -1
        if not depth:
            return edge.end()
    return len(sql)


def _only_doubled(percent: re.Match[str]) -> str:
    if percent[0] == "%%":
        return "%"
    if percent[0] == "%":
        raise RoeInputError(
            f"sql has a % that belongs to no placeholder, after {_before(percent)!r}: write %% for it, as"
            " there are parameters."
        )
    raise RoeInputError(
        f"sql has the placeholder {percent[0]} inside quotes or a comment: take the quotes away, for values"
        " get their own, or write %% for a % that is meant."
    )


def _before(percent: re.Match[str]) -> str:
    return percent.string[max(0, percent.start() - 20) : percent.start()]


def _key(placeholder: re.Match[str], named: bool, count: int) -> str | int:
    """Return the name or the index of a placeholder's value."""
    name: str | None = placeholder["name"]
    if named and name is None:
        raise RoeInputError(
            "sql has the placeholder %s, which needs a list of parameters, and they are a dict."
        )
    if not named and name is not None:
        raise RoeInputError(f"sql has the placeholder {placeholder[0]}, which needs a dict of parameters.")
    return count if name is None else name


def _check_apart(sql: str, start: int, end: int) -> None:
    if _JOINS.match(sql[start - 1 : start]) or _JOINS.match(sql, end):
        raise RoeInputError(
            f"sql has the placeholder {sql[start:end]} at character {start + 1} right beside a word, a dot, a"
            " quote or another placeholder: put a space between, or write %% for a % that is meant."
        )


def _value_literal(parameters: Sequence[Any] | Mapping[str, Any], key: Any) -> str:
    called = f"parameter {key + 1}" if isinstance(key, int) else f"parameter {key!r}"
    try:
        value = parameters[key]
    except LookupError:
        raise RoeInputError(
            f"sql has a placeholder for {called}, and parameters have none"
            f"{'' if isinstance(parameters, Mapping) else f': there are {len(parameters)}'}."
        ) from None
    try:
        return literal(value)
    except RoeInputError as error:
        raise RoeInputError(f"{called} cannot be bound: {error}") from None


def _check_all_used(
    parameters: Sequence[Any] | Mapping[str, Any], used: Sequence[str | int], some: bool
) -> None:
    if not isinstance(parameters, Mapping):
        if len(used) < len(parameters):
            raise RoeInputError(
                f"sql has {len(used)} placeholders, and there are {len(parameters)} parameters."
            )
    elif not some:
        unused = [name for name in parameters if name not in used]
        if unused:
            raise RoeInputError(
                f"sql has no placeholder for these parameters: {', '.join(map(repr, unused))}."
            )


def _texts(values: Sequence[Any]) -> list[str]:
    """Return the literals of values that share a type."""
    there = [value for value in values if value is not None]
    kinds = {_kind(value) for value in there}
    if not kinds:
        return ["NULL"] * len(values)
    if len(kinds) > 1:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise RoeInputError(
            f"Values of one list or dict are of several kinds, where ClickHouse has one: {names}."
        )
    [kind] = kinds
    if kind in (list, tuple, dict) and len(there) < len(values):
        raise RoeInputError(f"None is beside a {kind.__name__}, and ClickHouse has no NULL in place of one.")
    texts = iter(_WRITERS[kind](there))
    return ["NULL" if value is None else next(texts) for value in values]


def _kind(value: object) -> type:
    for kind in _WRITERS:
        if isinstance(value, kind):
            return kind
    raise RoeInputError(f"A {_name(value)} has no literal in ClickHouse's SQL: convert it first.")


def _name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


def _refuse(value: object, why: str) -> RoeInputError:
    shown = repr(value)
    return RoeInputError(f"{shown if len(shown) <= 60 else f'{shown[:59]}…'} {why}.")


def _cast(text: str, type_name: str) -> str:
    return f"CAST('{text}', '{type_name}')"


def _bools(values: Sequence[bool]) -> list[str]:
    return ["true" if value else "false" for value in values]


def _ints(values: Sequence[int]) -> list[str]:
    values = [int(value) for value in values]
    low, high = min(values), max(values)
    if (low in _INT64 and high in _INT64) or (low in _UINT64 and high in _UINT64):
        if len(values) == 1 or low >= 0:
            return [_signed(int.__repr__(value)) for value in values]
        # As they stand, -1 is an Int8 beside a UInt64, which have no type in common.
        return [_cast(int.__repr__(value), "Int64") for value in values]
    for name, width in _WIDE.items():
        if low in width and high in width:
            return [_cast(int.__repr__(value), name) for value in values]
    raise RoeInputError(
        f"An integer of {max(abs(low), abs(high)).bit_length()} bits is wider than ClickHouse's 256."
    )


def _signed(text: str) -> str:
    """Return a number's text, with a sign where no other can make a comment of it."""
    return f"({text})" if text.startswith("-") else text


def _floats(values: Sequence[float]) -> list[str]:
    texts = [float.__repr__(value) for value in values]
    return [
        _signed(text) if isfinite(value) else _cast(text, "Float64")
        for value, text in zip(values, texts, strict=True)
    ]


def _decimals(values: Sequence[Decimal]) -> list[str]:
    for value in values:
        if not value.is_finite():
            raise _refuse(value, "is no number that a Decimal of ClickHouse's can hold")
    scale = max(max(0, -_exponent(value)) for value in values)
    whole = max(1, *(value.adjusted() + 1 for value in values if value), 1)
    if whole + scale > _MAX_DIGITS:
        raise RoeInputError(
            f"Decimals need {whole} digits and {scale} decimals, and ClickHouse holds {_MAX_DIGITS} together."
        )
    # A zero may have a huge exponent, which would be as many digits.
    return [_cast(f"{value if value else 0:f}", f"Decimal({whole + scale}, {scale})") for value in values]


def _exponent(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int), "is finite"  # noqa: S101
    return exponent


def _strings(values: Sequence[str]) -> list[str]:
    return [f"'{_SPECIAL.sub(_escaped, str.__str__(value))}'" for value in values]


def _escaped(special: re.Match[str]) -> str:
    try:
        return "".join(f"\\x{byte:02X}" for byte in special[0].encode())
    except UnicodeEncodeError:
        raise RoeInputError(
            f"A str has half a surrogate pair at character {special.start() + 1}, which is no Unicode text."
        ) from None


def _bytes(values: Sequence[bytes]) -> list[str]:
    return [f"unhex('{value.hex()}')" for value in values]


def _check_year(value: date) -> None:
    if not 1900 <= value.year <= 2299:
        raise _refuse(value, "is not in the years 1900 to 2299, which ClickHouse has")


def _dates(values: Sequence[date]) -> list[str]:
    for value in values:
        _check_year(value)
    return [f"toDate32('{date.isoformat(value)}')" for value in values]


def _datetimes(values: Sequence[datetime]) -> list[str]:
    return [f"toDateTime64('{_in_utc(value)}', 6, 'UTC')" for value in values]


def _in_utc(value: datetime) -> str:
    _check_year(value)
    if getattr(value, "nanosecond", 0):
        raise _refuse(value, "has nanoseconds: round it to microseconds")
    if value.utcoffset() is not None:
        value = value.astimezone(UTC)
        _check_year(value)
    return datetime.isoformat(value.replace(tzinfo=None), " ", "microseconds")


def _times(values: Sequence[time]) -> list[str]:
    for value in values:
        if value.tzinfo is not None:
            raise _refuse(value, "is a time with a zone, which ClickHouse has not")
    return [_cast(time.isoformat(value, "microseconds"), "Time64(6)") for value in values]


def _timedeltas(values: Sequence[timedelta]) -> list[str]:
    return [_cast(_hours(value), "Time64(6)") for value in values]


def _hours(value: timedelta) -> str:
    if not -_LONGEST < value < _LONGEST:
        raise _refuse(value, "is not within 999:59:59.999999, the longest time that ClickHouse has")
    if getattr(value, "nanoseconds", 0):
        raise _refuse(value, "has nanoseconds: round it to microseconds")
    seconds, micros = divmod(abs(value) // timedelta(microseconds=1), 10**6)
    sign = "-" if value < timedelta(0) else ""
    return f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{micros:06}"


def _uuids(values: Sequence[UUID]) -> list[str]:
    return [_cast(UUID.__str__(value), "UUID") for value in values]


def _lists(values: Sequence[list[Any]]) -> list[str]:
    return [f"[{', '.join(texts)}]" for texts in _inner(values)]


def _tuples(values: Sequence[tuple[Any, ...]]) -> list[str]:
    if len({len(value) for value in values}) > 1:
        raise RoeInputError("Tuples of one list or dict differ in length, where ClickHouse has one type.")
    columns = [_texts(column) for column in zip(*values, strict=True)]
    rows = zip(*columns, strict=True) if columns else [()] * len(values)
    return [f"tuple({', '.join(row)})" for row in rows]


def _dicts(values: Sequence[dict[Any, Any]]) -> list[str]:
    if any(None in value for value in values):
        raise RoeInputError("None is a key of a dict, and ClickHouse has no NULL for a map's key.")
    keys, items = _inner(values), _inner([value.values() for value in values])
    return [
        f"map({', '.join(chain.from_iterable(zip(*pairs, strict=True)))})"
        for pairs in zip(keys, items, strict=True)
    ]


def _inner(groups: Sequence[Iterable[Any]]) -> list[list[str]]:
    """Return the literals of what is in several containers, which share a type, as groups again."""
    lists = [list(group) for group in groups]
    texts = iter(_texts([each for group in lists for each in group]))
    return [list(islice(texts, len(group))) for group in lists]


#: A subclass before its base: a bool is an int, too, and a datetime a date.
_WRITERS: dict[type, Callable[[Any], list[str]]] = {
    bool: _bools,
    int: _ints,
    float: _floats,
    Decimal: _decimals,
    str: _strings,
    bytes: _bytes,
    datetime: _datetimes,
    date: _dates,
    time: _times,
    timedelta: _timedeltas,
    UUID: _uuids,
    list: _lists,
    tuple: _tuples,
    dict: _dicts,
}
