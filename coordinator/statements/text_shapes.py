"""Texts that differ in the values of their plain literals only: a *shape* is such a text without those values.

The verdict on a SELECT, UPDATE or DELETE does not depend on what a plain literal holds, only on its being one. So it is found
once a shape, and kept. A text has one if it is of letters, blanks and simple signs, of whole numbers and of short strings in
single quotes; any other (comments, quoted names, escapes, other kinds of literals) is judged as a whole, and so is INSERT.

The invariant: two texts of one shape give the lexer the same tokens, but for what numbers and strings hold. So a string is no
longer than the lexer takes in one piece, and stands beside nothing that would make another literal of it (x'…', N'…', '…''…').
"""

import re

_BLANKS = " \t\n\v\f\r"
_STRING = r"(?<![0-9A-Za-z_'])'[^'\\\0]{0,128}+'(?!')"
_NUMBER = r"(?<![0-9A-Za-z_.])[0-9]{1,18}+(?![0-9A-Za-z_.])"
_TAME = re.compile(rf"(?:[0-9A-Za-z_ \t-\r(),.=<>!*+%;]++|{_STRING})++\Z")
_VALUES = re.compile(rf"{_STRING}|{_NUMBER}")
_CHARS_MAX = 2048


def shape_of(text: str) -> str:
    """Empty: the whole text matters."""
    if len(text) > _CHARS_MAX or _TAME.match(text) is None or not is_unicode(text):
        return ""
    return _VALUES.sub(_mark, text)


def statement_in(text: str) -> str:
    """Such a text without what surrounds its statement."""
    return text.strip(_BLANKS).removesuffix(";").rstrip(_BLANKS)


def _mark(value: re.Match[str]) -> str:
    return "''" if value[0].startswith("'") else "0"


def is_unicode(text: str) -> bool:
    """Whether it can be sent: it has no half of a surrogate pair."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
