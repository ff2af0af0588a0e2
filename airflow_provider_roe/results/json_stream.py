"""
JSON of any length, read from a file as a stream: by Python's own decoder, and so as ``json.loads`` reads it.

Python decodes a value at a time from a piece of the text. What is too long for that, the members of an object
and the elements of a list, can be gone through one by one.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from io import TextIOWrapper
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Characters that are read at a time.
PIECE = 512 * 1024
#: Characters of a single value beyond which it is refused.
LONGEST = 64 * 1024 * 1024
_BLANKS = re.compile(r"[ \t\n\r]*")
_COMMA = re.compile(r"[ \t\n\r]*,[ \t\n\r]*")


class JsonStream:
    """
    Reads a JSON text from its start.

    Numbers are given as the ``bytes`` of their text, for a float would not hold all of their digits.

    :param file: The text, in UTF-8, 16 or 32.
    """

    def __init__(self, file: IO[bytes]) -> None:
        file.seek(0)
        encoding = json.detect_encoding(file.read(4))
        file.seek(0)
        self._file = TextIOWrapper(file, encoding, errors="surrogatepass", newline="")
        self._text, self._at = "", 0
        self._decode = json.JSONDecoder(
            parse_float=str.encode, parse_int=str.encode, parse_constant=str.encode
        ).raw_decode

    def close(self) -> None:
        """Leave the file open to others."""
        self._file.detach()

    def peek(self) -> str:
        """Return the next character that is no blank; "" at the end."""
        while True:
            self._at = _BLANKS.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def value(self) -> Any:
        """
        Return the next value.

        :raises ValueError: What follows is no JSON, or longer than 64 Mi characters.
        """
        self.peek()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except ValueError:
                if not self._more():
                    raise
                continue
            if end + 2 < len(self._text):
                self._at = end
                return value
            length = end - self._at
            if not self._more():  # else a number might go on, as 1 does with e+5
                self._at = length
                return value

    def members(self) -> Iterator[str]:
        """Yield the keys of the object that follows; the caller takes the value before the next."""
        for _ in self._items("{}"):
            key = self.value()
            if not isinstance(key, str):
                raise self._error("Expecting a string")
            self._take(":")
            yield key

    def elements(self) -> Iterator[None]:
        """Let the caller take each element of the list that follows, one at a step."""
        return self._items("[]")

    def pieces(self) -> Iterator[list[Any]]:
        """Yield the elements of the list that follows, as many at a time as a piece of the text holds."""
        self._take("[")
        values: list[Any] = []
        if self.peek() != "]":
            while True:
                values.append(self.value())
                self._decode_all(values)
                if self.peek() != ",":
                    break
                self._take(",")
                yield values
                values = []
        self._take("]")
        if values:
            yield values

    def end(self) -> None:
        """
        Make sure that nothing follows.

        :raises ValueError: Something does.
        """
        if self.peek():
            raise self._error("Extra data")

    def _decode_all(self, values: list[Any]) -> None:
        """Add the elements that follow, as far as the text at hand reaches."""
        comma = _COMMA.match(self._text, self._at)
        end = self._text.rfind("],", self._at) + 1
        if comma and end > comma.end():
            # Lists, at once. What is cut within an element, or behind the last, is no JSON, or not only that.
            lists = f"[{self._text[comma.end() : end]}]"
            with suppress(ValueError):
                found, decoded = self._decode(lists)
                if decoded == len(lists):
                    values += found
                    self._at = end
                    return
        while comma := _COMMA.match(self._text, self._at):
            try:
                value, end = self._decode(self._text, comma.end())
            except ValueError:
                break  # cut off, or no JSON: whoever takes it up will see
            if end == len(self._text):
                break
            values.append(value)
            self._at = end

    def _items(self, brackets: str) -> Iterator[None]:
        self._take(brackets[0])
        if self.peek() != brackets[1]:
            yield
            while self.peek() == ",":
                self._take(",")
                yield
        self._take(brackets[1])

    def _take(self, character: str) -> None:
        if self.peek() != character:
            raise self._error(f"Expecting {character!r}")
        self._at += 1

    def _error(self, message: str) -> json.JSONDecodeError:
        return json.JSONDecodeError(message, self._text, self._at)

    def _more(self) -> bool:
        """Read more of the text, and drop what has been taken of it; tell whether there was more."""
        rest = self._text[self._at :]
        if len(rest) > LONGEST:
            raise ValueError("a value of JSON that is too long")
        # As much as there is, so that a long value is looked at only a few times.
        more = self._file.read(max(PIECE, len(rest)))
        self._text, self._at = rest + more, 0
        return bool(more)
