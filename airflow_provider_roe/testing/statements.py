"""Splits ClickHouse's SQL into statements as its own lexer would, which has no interface to ask."""

import re
from collections.abc import Iterator
from typing import NamedTuple

#: What the lexer reads in one piece, as far as a semicolon can be in it. A string or a comment that is not
#: closed goes on to the end.
_TOKEN = re.compile(
    r"""
      (?P<end> ; )
    | (?P<comment> /\* )
    | (?P<blank> \s++ | (?: -- | // | \#[ !] ) [^\n]*+ )
    | [A-Za-z0-9_] [\w$]*+
    | \$ (?P<tag> \w*+ ) \$ (?s: .*? ) \$ (?P=tag) \$
    | (?P<quote> ['"`] ) (?s: \\.? | (?! (?P=quote) ) [^\\] )*+ (?P=quote)?+
    | \u2018 [^\u2019]*+ \u2019?+ | \u201c [^\u201d]*+ \u201d?+
    | (?s: . )
    """,
    re.VERBOSE | re.ASCII,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")


class Statement(NamedTuple):
    """A statement, with the comments in and around it, and where its first word begins in it."""

    text: str
    first_word: int


def split(sql: str) -> Iterator[Statement]:
    """
    Yield the statements of a query, without those that are only blanks and comments.

    :param sql: statements, separated by ``;``.
    """
    begin, word, position = 0, None, 0
    while token := _TOKEN.match(sql, position):
        match token.lastgroup:
            case "end":
                if word is not None:
                    yield _statement(sql[begin:position], word - begin)
                begin, word = token.end(), None
            case "comment":
                position = _end_of_comment(sql, token.end())
                continue
            case "blank":
                pass
            case _ if word is None:
                word = position
        position = token.end()
    if word is not None:
        yield _statement(sql[begin:], word - begin)


def _statement(text: str, first_word: int) -> Statement:
    return Statement(text.strip(), first_word - (len(text) - len(text.lstrip())))


def _end_of_comment(sql: str, position: int) -> int:
    """Find the end of a comment, in which others can lie."""
    depth = 1
    for edge in _COMMENT_EDGE.finditer(sql, position):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(sql)
