"""Ids that a server makes beside ids that the text names, in the rows of one INSERT … VALUES or VALUES ROW.

The log carries the first id that was made, and a server counts on from there. But when a row names an id beyond those made so
far, the run of forced ids ends, and what is made behind it comes from the server's own counter, which is another one on each
node (seen on 9.7). So one pattern must not pass: made, named, made. Made ones in front, or behind named ones only, are exact,
and so is INSERT … SELECT.

Which column it is, only the schema knows. So reading asks a cheap question, whether any column could have the pattern, and
most bulk inserts end there; who has the schema looks at that column's value in each row.

The hard case is a value that may be either: '0' makes an id as NULL does, and so does an expression that comes out as 0. It
counts as both.
"""

import re
from collections.abc import Generator
from itertools import islice

from statements.sql_lexer import LITERAL, LITERAL_VALUE, ONE_ROW, PLAIN_VALUE, ROWS, Tokens, tokenize

_ROWS_OF_THE_PATTERN = 3
_LOOK_CHARS = 64 * 1024
_OVERLAP_CHARS = 4 * 1024
"""More than blanks and one number take."""
_PAUSE_VALUES = 256
_CHARS_OF_A_VALUE = 64
_MAKING_WORDS = (b"NULL", b"DEFAULT", b"FALSE", b"X''", b"B''")
# What may stand between a comma and a zero goes, and then one search finds the zero: in C, ten times as fast as a pattern.
_BEFORE_ZERO = b" \t\n\v\f\r'\"+-NXB"
_BEGINS = bytes.maketrans(b"(.", b",0")
_TINY = re.compile(
    r"""[(,]\s{0,1024}+-?+[nN]?+['"]?+[\s+-]{0,1024}+[0-9.]{1,1024}+[eE]-[0-9]{1,9}+\s{0,9}+['"]?+\s{0,1024}+[,)]"""
)
# IGNORE makes 0 of what is no number, and of what is too small.
_MAY_BECOME_ZERO = re.compile(r"""[(,]\s{0,1024}+(?:-|[nNxXbB]?+['"](?![1-9]))""")
_NAMED = re.compile(r"""(['"]?)(-?)0{0,64}+[1-9][0-9]{0,64}+\1""")
_MADE = re.compile(r"NULL|DEFAULT|FALSE|-?0{1,64}+", re.IGNORECASE)
_VALUE = re.compile(PLAIN_VALUE)
_LITERAL = re.compile(LITERAL_VALUE)
_TO_NEXT = re.compile(r"[ \t-\r]{0,1024}+,?+[ \t-\r]{0,1024}+")


def may_mix_ids(tokens: Tokens, start: int, end: int, skips_errors: bool) -> Generator[None, None, bool]:
    """Whether the rows that begin at token `start` could have the pattern in some column."""
    if not _has_rows(tokens, start, _ROWS_OF_THE_PATTERN):
        return False
    if start >= end or not {ROWS, ","}.issuperset(tokens.keys[start:end]):
        return True
    last = tokens.ends[end - 1]
    for offset in range(tokens.starts[start], last, _LOOK_CHARS):
        yield
        piece = tokens.text[offset : min(last, offset + _LOOK_CHARS + _OVERLAP_CHARS)]
        upper = piece.encode().upper()
        if any(word in upper for word in _MAKING_WORDS) or b",0" in upper.translate(_BEGINS, _BEFORE_ZERO):
            return True
        if b"E-" in upper and _TINY.search(piece):
            return True
        if skips_errors and _MAY_BECOME_ZERO.search(piece):
            return True
    return False


def _has_rows(tokens: Tokens, start: int, least: int) -> bool:
    count, index = 0, start
    while count < least:
        index += tokens.key(index) == "ROW"
        key = tokens.key(index)
        if key == ROWS:
            at = tokens.starts[index]
            while (row := ONE_ROW.match(tokens.text, at)) is not None and row.end() <= tokens.ends[index]:
                count += 1
                between = _TO_NEXT.match(tokens.text, row.end())
                assert between is not None
                at = between.end()
        elif key == "(":
            count += 1
            index = tokens.partners[index]
        else:
            return False
        if tokens.key(index + 1) != ",":
            break
        index += 2
    return count >= least


class Pattern:
    """Made, named, made: how far of it has been seen."""

    def __init__(self, skips_errors: bool) -> None:
        self._skips_errors = skips_errors
        self._seen = 0

    @property
    def is_whole(self) -> bool:
        return self._seen == _ROWS_OF_THE_PATTERN

    def add(self, value: str) -> None:
        named = _NAMED.fullmatch(value)
        if named is not None and not (self._skips_errors and named[2]):
            self._seen += self._seen == 1
        elif self._seen != 1 or _MADE.fullmatch(value) is None:
            self._seen = min(self._seen + 1, _ROWS_OF_THE_PATTERN)


def mixes_ids(rows: str, place: int, width: int, skips_errors: bool) -> Generator[None, None, bool | None]:
    """Whether the values at `place` of the rows have the pattern; None if a row does not have `width` values."""
    tokens = yield from tokenize(rows)
    pattern = Pattern(skips_errors)
    index, number, looked_at = 0, 0, 0
    index += tokens.key(index) == "ROW"
    while not pattern.is_whole and tokens.key(index) in (ROWS, "("):
        if tokens.keys[index] == "(":
            closing = tokens.partners[index]
            values = yield from _values(tokens, index + 1, closing)
            looked_at += closing - index
            index = closing
            if len(values) != width:
                return None
            pattern.add(values[place])
        else:
            at, end = tokens.starts[index], tokens.ends[index]
            while at < end and (row := ONE_ROW.match(rows, at)) is not None:
                # MySQL refuses rows of unlike width, so the first one tells of all
                last = width if number == 0 else place + 1
                values = [value[0] for value in islice(_VALUE.finditer(rows, at + 1, row.end()), last + 1)]
                looked_at += last + (row.end() - at) // _CHARS_OF_A_VALUE
                if values and (len(values) < last or (number == 0 and len(values) > width)):
                    return None
                pattern.add(values[place] if values else "DEFAULT")
                number += 1
                between = _TO_NEXT.match(rows, row.end())
                assert between is not None
                at = between.end()
        if looked_at >= _PAUSE_VALUES:
            looked_at = 0
            yield
        if tokens.key(index + 1) != ",":
            break
        index += 2
        index += tokens.key(index) == "ROW"
    return pattern.is_whole or tokens.key(index + 1) == "ORDER"


def _values(tokens: Tokens, start: int, end: int) -> Generator[None, None, list[str]]:
    """The values of a row that is not plain. One token may be several of them, with commas between."""
    values: list[str] = []
    begin, index, steps = tokens.ends[start - 1], start, 0
    while index < end:
        steps += 1
        if steps % _PAUSE_VALUES == 0:
            yield
        key = tokens.keys[index]
        if key == "(":
            index = tokens.partners[index]
        elif key == ",":
            values.append(tokens.text[begin : tokens.starts[index]].strip())
            begin = tokens.ends[index]
        elif key in (LITERAL, ROWS):
            at, stop = tokens.starts[index], tokens.ends[index]
            single = _LITERAL if key == LITERAL else ONE_ROW
            while (one := single.match(tokens.text, at)) is not None and one.end() < stop:
                values.append(tokens.text[begin : one.end()].strip())
                between = _TO_NEXT.match(tokens.text, one.end())
                assert between is not None
                begin = at = between.end()
        index += 1
    values.append(tokens.text[begin : tokens.starts[end]].strip())
    return values
