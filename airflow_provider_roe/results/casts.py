"""
Columns of text cast at once, with pyarrow: to Arrow's types, and to JSON.

A cast here takes a column only where it is sure to make of each cell what the type's own reader makes of it:
by a pattern that each cell has to match, or by casting back. Of any other column it makes None, and its
cells are read one by one. So nothing has to be added here for what cells may hold, but for speed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_roe.results import clickhouse as ch

if TYPE_CHECKING:
    from collections.abc import Sequence

_FLOAT = r"^-?(?:[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?|inf|nan)$"
_UUID = "^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"^(?:{_OCTET}\.){{3}}{_OCTET}$"
# What stands for an escaped backslash and an escaped quote while a list is split: bytes that no text has.
_BACKSLASH, _QUOTE = b"\xfe", b"\xff"


def strings(type_: ch.ColumnType, cells: Sequence[Any]) -> pa.StringArray | None:
    """Return cells as an array of text, NULL as null; None if one is neither text nor a number."""
    if isinstance(type_, ch.Text) and not set(map(type, cells)) <= {str, type(None)}:
        return None
    try:
        array = pa.array(cells, pa.string())
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):
        return None
    return _with_nulls(array, type_.null_words()) if type_.nullable else array


def arrow(type_: ch.ColumnType, texts: pa.StringArray) -> pa.Array | None:
    """Return texts as an array of the type's Arrow type; None if one may need another reader."""
    try:
        return _arrow(type_, texts)
    except pa.ArrowInvalid:
        return None


def json_texts(type_: ch.ColumnType, texts: pa.StringArray) -> pa.StringArray | None:
    """Return the JSON of the type's plain values; None if a text may need another reader."""
    try:
        found = _json(type_, texts)
    except pa.ArrowInvalid:
        return None
    return found if found is None else pc.fill_null(found, "null")


def joined(pieces: list[str | pa.StringArray]) -> memoryview:
    """Return the texts of all rows, each of which is the pieces one after the other."""
    array = pc.binary_join_element_wise(*pieces, "")
    _, offsets, data = array.buffers()
    assert array.offset == 0  # noqa: S101 - it has just been made
    return memoryview(data)[: memoryview(offsets).cast("i")[len(array)]]


def _arrow(type_: ch.ColumnType, texts: pa.StringArray) -> pa.Array | None:
    match type_:
        case ch.Integer(bits=bits, signed=signed) if bits > 64:
            # As many digits as are in the range whatever they are.
            return _matching(texts, rf"^(?:0|{'-?' * signed}[1-9][0-9]{{0,{37 if bits == 128 else 75}}})$")
        case ch.Integer():
            return _that_casts_back(texts, type_.arrow())
        case ch.Date():
            return None if _has_year_0(texts) else _that_casts_back(texts, type_.arrow())
        case ch.Float():
            return _floats(type_, texts)
        case ch.Exact():
            return _decimals(type_, texts)
        case ch.Boolean():
            true = pc.is_in(texts, pa.array(ch.TRUE_WORDS))
            known = pc.or_(true, pc.is_in(texts, pa.array(ch.FALSE_WORDS)))
            valid = pc.is_valid(texts)
            return pc.if_else(valid, true, None) if pc.all(pc.equal(known, valid)).as_py() else None
        case ch.Timestamp():
            return _timestamps(type_, texts)
        case ch.FixedText(size=size):
            return texts if _all(pc.equal(pc.binary_length(texts), size)) else None
        case ch.Uuid():
            return _matching(texts, _UUID)
        case ch.Address(version=4):
            return _matching(texts, _IPV4)
        case ch.JsonText():
            return None
        case ch.Text():
            return texts
        case ch.Array(element=element):
            lists = _split(element, texts)
            if lists is None:
                return None
            values = arrow(element, lists.values)
            if values is None:
                return None
            return pa.ListArray.from_arrays(lists.offsets, values, type=type_.arrow())
    return None


def _json(type_: ch.ColumnType, texts: pa.StringArray) -> pa.StringArray | None:
    if isinstance(type_, ch.Array):
        lists = _split(type_.element, texts)
        if lists is None:
            return None
        values = json_texts(type_.element, lists.values)
        if values is None:
            return None
        items = pc.binary_join(pa.ListArray.from_arrays(lists.offsets, values), ", ")
        return pc.binary_join_element_wise("[", items, "]", "")
    array = arrow(type_, texts)
    if array is None:
        return None
    match type_:
        case ch.Integer(bits=bits):
            return texts if bits <= 64 else _in_quotes(texts)
        case ch.Boolean():
            return pc.cast(array, pa.string())
        case ch.Float():
            return pa.array([ch.encode(type_.plain(text)) for text in texts.to_pylist()], pa.string())
        case ch.Date() | ch.Exact():
            return _in_quotes(texts)
        case ch.Timestamp():
            if type_.arrow().tz == "UTC" or _is_sure_of_zone(array):
                return _in_quotes(_iso(type_, array))
        case ch.Text() | ch.Uuid() | ch.Address():
            return _json_strings(array)
    return None


def _all(found: pa.BooleanArray) -> bool:
    """Tell whether all are true; null, which is no text, does not count."""
    return bool(pc.all(found, min_count=0).as_py())


def _any(found: pa.BooleanArray) -> bool:
    return bool(pc.any(found, min_count=0).as_py())


def _with_nulls(texts: pa.StringArray, words: Any) -> pa.StringArray:
    is_null = pc.is_in(texts, pa.array(words, pa.string()))
    return pc.if_else(is_null, None, texts) if _any(is_null) else texts


def _matching(texts: pa.StringArray, pattern: str) -> pa.StringArray | None:
    return texts if _all(pc.match_substring_regex(texts, pattern)) else None


def _that_casts_back(texts: pa.StringArray, type_: pa.DataType) -> pa.Array | None:
    array = pc.cast(texts, type_)
    return array if _all(pc.equal(pc.cast(array, pa.string()), texts)) else None


def _floats(type_: ch.Float, texts: pa.StringArray) -> pa.Array | None:
    if _matching(texts, _FLOAT) is None:
        return None
    array = pc.cast(texts, pa.float64())
    if not type_.single:
        return array
    single = pc.cast(array, pa.float32())
    return single if _all(pc.equal(pc.is_inf(single), pc.is_inf(array))) else None


def _decimals(type_: ch.Exact, texts: pa.StringArray) -> pa.Array | None:
    whole, places = type_.digits - type_.places, type_.places
    digits = rf"(?:0|[1-9][0-9]{{0,{whole - 1}}})" if whole else "0"
    fraction = rf"(?:\.[0-9]{{1,{places}}})?" if places else ""
    if _matching(texts, f"^-?{digits}{fraction}$") is None:
        return None
    return pc.cast(texts, type_.arrow())


def _timestamps(type_: ch.Timestamp, texts: pa.StringArray) -> pa.Array | None:
    """Return times, if all are without an offset or all in UTC, and if the texts tell the time of each."""
    zone = type_.arrow().tz
    in_utc = _all(pc.ends_with(texts, "+00:00"))
    local = pc.utf8_slice_codeunits(texts, 0, -6) if in_utc else texts
    if type_.scale and _matching(local, rf"^.{{19}}(?:\.[0-9]{{1,{type_.scale}}}0*)?$") is None:
        return None
    # Python writes all six digits of microseconds, or none.
    naive = pc.cast(local, pa.timestamp("us" if type_.unit == "ms" else type_.unit))
    if not _all(pc.equal(_trimmed(pc.cast(naive, pa.string()), type_), _trimmed(local, type_))):
        return None
    naive = pc.cast(naive, pa.timestamp(type_.unit))
    if _has_year_0(local) or (in_utc and zone != "UTC" and not _is_sure_of_zone(naive)):
        return None
    if in_utc or zone == "UTC":
        return pc.cast(pc.assume_timezone(naive, "UTC"), type_.arrow())
    array = pc.assume_timezone(naive, zone)
    return array if _is_sure_of_zone(array) else None


def _is_sure_of_zone(times: pa.TimestampArray) -> bool:
    """Tell whether all times are such as all libraries set clocks alike: later changes are extrapolated."""
    years = pc.year(times)
    return _all(pc.and_(pc.greater(years, 1972), pc.less(years, 2037)))


def _has_year_0(texts: pa.StringArray) -> bool:
    """Tell whether there is a year that Python does not have."""
    return _any(pc.starts_with(texts, "0000"))


def _trimmed(times: pa.StringArray, type_: ch.Timestamp) -> pa.StringArray:
    """Return times with a fraction that ends in no zero, for Python leaves it out where it is zero."""
    if not type_.scale:
        return times
    with_fraction = pc.if_else(
        pc.equal(pc.binary_length(times), 19), pc.binary_join_element_wise(times, ".", ""), times
    )
    return pc.utf8_rtrim(with_fraction, "0")


def _iso(type_: ch.Timestamp, array: pa.Array) -> pa.StringArray:
    text = pc.cast(pc.local_timestamp(array), pa.string())
    offset: Any = "+00:00"
    if type_.arrow().tz != "UTC":
        offset = pc.replace_substring_regex(pc.strftime(array, "%z"), "(..)$", r":\1")
    return pc.binary_join_element_wise(pc.binary_replace_slice(text, 10, 11, "T"), offset, "")


def _in_quotes(texts: pa.StringArray) -> pa.StringArray:
    return pc.binary_join_element_wise('"', texts, '"', "")


def _json_strings(texts: pa.StringArray) -> pa.StringArray:
    if _any(pc.match_substring_regex(texts, r"[\x00-\x1f]")):
        return pa.array(
            [None if text is None else ch.encode(text) for text in texts.to_pylist()], pa.string()
        )
    for character in '\\"':
        if _any(pc.match_substring(texts, character)):
            texts = pc.replace_substring(texts, character, f"\\{character}")
    return _in_quotes(texts)


# Lists


def _split(element: ch.ColumnType, texts: pa.StringArray) -> pa.ListArray | None:
    """Return the texts of the elements of lists, without quotes and escapes."""
    if texts.null_count:
        return None
    match element:
        case ch.Integer() | ch.Float() | ch.Exact() | ch.Boolean():
            return _split_bare(element, texts)
        case ch.JsonText():
            return None
        case ch.Text() | ch.Uuid() | ch.Address() | ch.Date() | ch.Timestamp():
            return _split_quoted(texts)
    return None


def _split_bare(element: ch.ColumnType, texts: pa.StringArray) -> pa.ListArray | None:
    if _matching(texts, r"^\[[^\[\](){}'\",]*(?:,[^\[\](){}'\",]+)*\]$") is None:
        return None
    lists = _lists(pc.utf8_slice_codeunits(texts, 1, -1), ",", pc.equal(texts, "[]"))
    values = pc.utf8_trim(lists.values, " ")
    if element.nullable:
        values = _with_nulls(values, ch.BARE_NULLS)
    return pa.ListArray.from_arrays(lists.offsets, values)


def _split_quoted(texts: pa.StringArray) -> pa.ListArray | None:
    marked = pc.replace_substring(texts.cast(pa.binary()), "\\\\", _BACKSLASH)
    marked = pc.replace_substring(marked, "\\'", _QUOTE)
    # No element has a quote in it any more. From the left, each separator begins at the quote that ends one.
    for comma in (",", ", "):
        if _matching(marked, rf"^\[(?:'[^'\\]*'(?:{comma}'[^'\\]*')*)?\]$") is not None:
            break
    else:
        return None
    body = pc.binary_slice(marked, 2, -2)
    lists = _lists(body, f"'{comma}'", pc.equal(pc.binary_length(marked), 2))
    values = pc.replace_substring(pc.replace_substring(lists.values, _QUOTE, "'"), _BACKSLASH, "\\")
    return pa.ListArray.from_arrays(lists.offsets, values.cast(pa.string()))


def _lists(bodies: pa.StringArray, separator: str, empty: pa.BooleanArray) -> pa.ListArray:
    lists = pc.split_pattern(bodies, separator)
    if not _any(empty):
        return lists
    # Of an empty text, too, a split makes one element.
    kept = pc.invert(pc.take(empty, pc.list_parent_indices(lists)))
    lengths = pc.if_else(empty, 0, pc.list_value_length(lists))
    offsets = pc.cumulative_sum(pa.concat_arrays([pa.array([0], pa.int32()), pc.cast(lengths, pa.int32())]))
    return pa.ListArray.from_arrays(offsets, pc.filter(lists.values, kept))
