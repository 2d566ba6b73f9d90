"""Cuts one SQL text into the tokens that MySQL's own lexer would see, or refuses it.

What it decides: where strings, quoted names, comments and the statement end. The coordinator splices a user's text
into a packet with statements of its own, so the invariant is about safety, not convenience: **a text that is accepted
contains no statement end that was not seen here, and leaves nothing open that could swallow what follows it.**

The rules are those of MySQL 8.0 to 9.7 for one fixed surrounding (utf8mb4, no ANSI_QUOTES, no NO_BACKSLASH_ESCAPES),
read from the server's `lex_one_token` and compared with a running server in tests/integration. Where two versions, or
two lexers inside one server, disagree, the text is refused:

* `$$ … $$` is a string since 9.0 and a name before: no bare word may begin with `$`.
* `/*! … */` is executed or not by version: refused everywhere outside strings.
* An optimizer hint has a lexer of its own, to which `*/` between quotes is no end: hints hold no quotes.
* A `;` is a token only in a text that begins with CREATE TRIGGER, where sql_triggers says which may stand.
* `1e`, `1a`, `a.1b` and `0X41` are names or numbers by context: such names belong into backticks.

An own lexer and not sqlglot or sqlparse: those parse `/*!50110 DROP TABLE t */` to nothing, take 47 ms for an INSERT
of 1,000 rows, and regenerate text. What is needed here is less, but exact.

The hard case is time. A 1 MB INSERT must not hold up the event loop, and a regular expression cannot be interrupted.
So every repetition is bounded and possessive (no backtracking, so no quadratic text either), plain value lists are
skipped in C as one token, and the lexer is a generator that pauses every few thousand characters.
"""

import re
from array import array
from collections.abc import Generator
from typing import TypeVar

TEXT_BYTES_MAX = 1024 * 1024
TOKENS_MAX = 20_000
"""Plain value lists count as one token for many values, so only expressions of extreme size reach this."""
DEPTH_MAX = 256
"""Of parentheses; MySQL's own parser runs out of stack on nesting of that kind."""

_PAUSE_TOKENS = 512
_PAUSE_CHARS = 32 * 1024
_ENCODE_CHARS = 64 * 1024

NAME = "`"
"""Key of a quoted name, of a word beside a dot and of a word outside ASCII: none of them can be a keyword."""
LITERAL = "'"
"""Key of a literal, or of several with commas between."""
ROWS = "()"
"""Key of one or more parenthesised lists of plain values: `()`, `(1, 'a')`, `(1),(2)`."""
SYSTEM_VARIABLE = "@@"
MARKER = "?"
"""Key of a parameter marker, in a text that may have some."""
TRIGGER_KEYS = ["CREATE", "TRIGGER"]
"""How the only statement begins that may have a `;` in it."""


class Refused(Exception):
    """The text will not be executed. `reason` says what to do instead; errno and SQLSTATE are MySQL's where it has one."""

    def __init__(self, reason: str, errno: int | None = 1064, sqlstate: str | None = "42000") -> None:
        super().__init__(reason)
        self.reason = reason
        self.errno = errno
        self.sqlstate = sqlstate


class Tokens:
    """Parallel lists, one entry a token, because objects would cost more than the lexing.

    `keys[i]` is the word in capitals where it can be a keyword, else one of the marks above or the sign itself: so
    `"LIMIT" in keys` finds the keyword and never a column, a string or a comment of that name.
    """

    __slots__ = ("ends", "has_hint", "keys", "partners", "starts", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.keys: list[str] = []
        self.starts = array("i")
        self.ends = array("i")
        self.partners: dict[int, int] = {}
        self.has_hint = False

    def key(self, index: int) -> str:
        return self.keys[index] if 0 <= index < len(self.keys) else ""

    def raw(self, index: int) -> str:
        return self.text[self.starts[index] : self.ends[index]]

    def is_name(self, index: int) -> bool:
        """A word or a quoted name; whether a word is reserved is MySQL's to say."""
        if not 0 <= index < len(self.keys):
            return False
        key = self.keys[index]
        return key == NAME or key[0].isalpha() or key[0] == "_"

    def name(self, index: int) -> str:
        raw = self.raw(index)
        return raw[1:-1].replace("``", "`") if raw.startswith("`") else raw


Result = TypeVar("Result")

_ID = r"0-9A-Za-z_$\x80-\U0010ffff"
_WS = r"[ \t-\r]{0,1024}+"
# 16 pieces bound the time of one match; what is longer, or has more escapes, goes on in _string_end and _bits_end.
_SINGLE = r"[nN]?+'(?:[^'\\]{1,128}+|\\.|''){0,16}+'(?!')"
_DOUBLE = r'"(?:[^"\\]{1,128}+|\\.|""){0,16}+"(?!")'
_NUMBER = rf"(?:[0-9]{{1,512}}+(?:\.[0-9]{{0,512}}+)?+|\.[0-9]{{1,512}}+)(?:[eE][+-]?+[0-9]{{1,9}}+)?+(?![{_ID}])"
_QUOTED_BITS = r"[xX]'(?:[0-9A-Fa-f]{2}){0,256}+'|[bB]'[01]{0,512}+'"
_BITS = rf"(?:{_QUOTED_BITS}|(?:0x[0-9A-Fa-f]{{1,512}}+|0b[01]{{1,512}}+)(?![{_ID}]))"
LITERAL_VALUE = rf"(?:{_SINGLE}|{_DOUBLE}|{_NUMBER}|{_BITS})"
# Words that are as plain as a value inside a row; NOW() is among them because it is pinned and stands in many rows.
PLAIN_VALUE = rf"(?:-?+{LITERAL_VALUE}|(?i:NULL|TRUE|FALSE|DEFAULT|CURRENT_TIMESTAMP|NOW\(\))(?![{_ID}]))"
PLAIN_LIST = rf"\({_WS}(?:{PLAIN_VALUE}{_WS}(?:,{_WS}{PLAIN_VALUE}{_WS}){{0,31}}+)?+\)"

_PATTERN_BY_KIND = {
    "word": rf"(?![xXbBnN]')[A-Za-z_\x80-\U0010ffff][{_ID}]{{0,255}}+(?![{_ID}]|\.[0-9])",
    "rows": rf"{PLAIN_LIST}(?:{_WS},{_WS}{PLAIN_LIST}){{0,7}}+",
    "paren": r"[()]",
    "literal": rf"{LITERAL_VALUE}(?:{_WS},{_WS}{LITERAL_VALUE}){{0,31}}+",
    # MySQL asks for a space or control character after the dashes: 1--1 is 2.
    "line_comment": r"\#|--(?=[\x00-\x20\x7f]|\Z)",
    "block_comment": r"/\*",
    "sign": r"[-+*/%=<>!&|^~,.]",
    "quoted": r"`(?:[^`]{1,64}+|``){1,64}+`(?!`)",
    "string": r"[nN]?+['\"]",
    "bits": r"[xXbB]'|0[xb]",
    "system_variable": rf"@@(?:[A-Za-z_][{_ID}]{{0,255}}+|`[A-Za-z0-9_]{{1,64}}+`)",
    "semicolon": ";",
    "space": r"[ \t-\r]",
    "end": r"\Z",
    "unknown": ".",
}


def _tokens_of(patterns: dict[str, str]) -> re.Pattern[str]:
    alternatives = "|".join(f"(?P<{kind}>{pattern})" for kind, pattern in patterns.items())
    return re.compile(rf"{_WS}(?:{alternatives})", re.DOTALL)


_TOKEN = _tokens_of(_PATTERN_BY_KIND)
_TOKEN_OR_MARKER = _tokens_of({"marker": r"\?|:[A-Za-z_][0-9A-Za-z_]{0,63}+(?![0-9A-Za-z_])", **_PATTERN_BY_KIND})
ONE_ROW = re.compile(PLAIN_LIST)
_KEY_BY_KIND = {"quoted": NAME, "system_variable": SYSTEM_VARIABLE, "marker": MARKER}
_STRING_PIECES = {
    "'": re.compile(r"(?:[^'\\]{1,64}+|\\.|''){0,2048}+", re.DOTALL),
    '"': re.compile(r'(?:[^"\\]{1,64}+|\\.|""){0,2048}+', re.DOTALL),
}
_HEX_PIECE = re.compile(r"[0-9A-Fa-f]{0,65536}+")
_BIN_PIECE = re.compile(r"[01]{0,65536}+")
_CONTINUES_NAME = re.compile(rf"[{_ID}]")
_BEGINS_CHAIN = re.compile(rf"\.[{_ID}]")
_SAFE_HINT = re.compile(r"[A-Za-z0-9_@,().=%# \t\r\n]{1,1024}+\Z")
# These would lift the time limit of reads or change the session under which the text was lexed.
_HARMFUL_HINT = re.compile(r"SET_VAR|MAX_EXECUTION_TIME|RESOURCE_GROUP", re.IGNORECASE)

_UNTERMINATED = "the text ends inside a {}: close it"
TWO_STATEMENTS = "one text is one statement: send several as one atomic batch, one element each"
_REASON_BY_CHARACTER = {
    "@": "user variables do not outlive a request and differ between nodes: write the value itself",
    ":": "a marker :name needs a value in `params`, an object; `:=` sets a user variable, which does not outlive a request",
    "?": "a parameter marker needs a value in `params`, a list",
    "$": "a bare name may not begin with $, which opens a string in newer servers: put the name into backticks",
    "{": "ODBC escapes are not supported: write the expression without { }",
    "\\": "a backslash outside of a string is not SQL: put the text into quotes",
    "`": "a name in backticks is empty, too long or not closed",
}


def finish(steps: Generator[None, None, Result]) -> Result:
    """Run to the end without a pause."""
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            result: Result = finished.value
            return result


def is_one_row(tokens: Tokens, index: int) -> bool:
    """Whether the VALUES that begin at token `index` (ROWS or a parenthesis) are a single row."""
    last = index if tokens.keys[index] == ROWS else tokens.partners[index]
    if tokens.key(last + 1) == ",":
        return False
    if last != index:
        return True
    row = ONE_ROW.match(tokens.text, tokens.starts[index])
    return row is not None and row.end() == tokens.ends[index]


def tokenize(text: str, has_markers: bool = False) -> Generator[None, None, Tokens]:
    """Lex `text`, in which markers may stand if `has_markers`; pauses (yields) so often that no stretch between two pauses is
    longer than about a millisecond."""
    yield from _check_encoding(text)
    tokens = Tokens(text)
    keys, starts, ends = tokens.keys, tokens.starts, tokens.ends
    opened: list[int] = []
    position, matched, tokens_till_pause, position_at_pause, closed = 0, 0, _PAUSE_TOKENS, _PAUSE_CHARS, False
    kind, token = "", _TOKEN_OR_MARKER if has_markers else _TOKEN
    while kind != "end":
        # Comments and long literals are left with find() or in pieces, then the scan starts again behind them.
        for match in token.finditer(text, position):
            kind = match.lastgroup or "unknown"
            start, position = match.span(kind)
            matched += 1
            if matched >= tokens_till_pause or position >= position_at_pause:
                tokens_till_pause, position_at_pause = matched + _PAUSE_TOKENS, position + _PAUSE_CHARS
                if matched > TOKENS_MAX:
                    raise _too_large(f"has more than {TOKENS_MAX} words and signs")
                yield
            if kind == "end":
                break
            if kind == "line_comment":
                newline = text.find("\n", position)
                position = len(text) if newline < 0 else newline
                break
            if kind == "block_comment":
                position = _comment_end(tokens, position)
                break
            if kind == "space":
                continue
            if closed:
                raise Refused(TWO_STATEMENTS)
            if kind == "semicolon":
                if not keys:
                    raise Refused("the query is empty before its `;`: write a statement", 1065)
                if keys[:2] != TRIGGER_KEYS or keys[-1] == ";" or opened:
                    closed = True
                    continue
                # sql_triggers holds it to the grammar of BEGIN … END
                keys.append(";")
                starts.append(start)
                ends.append(position)
                continue
            if kind == "word":
                word = match[kind]
                by_a_dot = (keys and keys[-1] == ".") or _BEGINS_CHAIN.match(text, position)
                keys.append(NAME if by_a_dot or not word.isascii() else word.upper())
            elif kind == "paren":
                paren = match[kind]
                if paren == "(":
                    opened.append(len(keys))
                    if len(opened) > DEPTH_MAX:
                        raise Refused(f"parentheses are nested more than {DEPTH_MAX} deep: simplify the statement")
                elif opened:
                    tokens.partners[len(keys)] = opened[-1]
                    tokens.partners[opened.pop()] = len(keys)
                else:
                    raise Refused("there is a `)` without its `(`")
                keys.append(paren)
            elif kind == "sign":
                keys.append(match[kind])
            elif kind == "rows":
                tokens.partners[len(keys)] = len(keys)
                keys.append(ROWS)
            elif kind == "unknown":
                raise Refused(_reason_for(text, start))
            else:
                keys.append(_KEY_BY_KIND.get(kind, LITERAL))
            starts.append(start)
            ends.append(position)
            if kind == "string":
                position = ends[-1] = yield from _string_end(text, position)
                break
            if kind == "bits":
                position = ends[-1] = yield from _bits_end(text, start, position)
                break
    if not keys:
        raise Refused("the query is empty: write a statement", 1065)
    if keys[-1] == ";":
        keys.pop()
        starts.pop()
        ends.pop()
    if text.endswith("--", 0, ends[-1]) and keys[-1] == "-":
        # Cut off here it would be a comment; with something behind it, it is not.
        raise Refused("the statement ends with an operator: complete it")
    if opened:
        raise Refused("there is a `(` without its `)`")
    return tokens


def _check_encoding(text: str) -> Generator[None, None, None]:
    if len(text) > TEXT_BYTES_MAX:
        raise _too_large(f"is larger than {TEXT_BYTES_MAX} bytes")
    if "\0" in text:
        raise Refused("the text holds a NUL character: write it as \\0 inside a string")
    size_bytes = 0
    for offset in range(0, len(text), _ENCODE_CHARS):
        try:
            size_bytes += len(text[offset : offset + _ENCODE_CHARS].encode())
        except UnicodeEncodeError:
            raise Refused("the text is not valid Unicode (half of a surrogate pair): send well-formed UTF-8") from None
        yield
    if size_bytes > TEXT_BYTES_MAX:
        raise _too_large(f"is larger than {TEXT_BYTES_MAX} bytes")


def _too_large(how: str) -> Refused:
    return Refused(f"the statement {how}: send it in parts", 1153, "08S01")


def _comment_end(tokens: Tokens, position: int) -> int:
    text = tokens.text
    end = text.find("*/", position)
    if end < 0:
        raise Refused(_UNTERMINATED.format("comment"))
    if text.startswith(("!", "M!"), position):
        raise Refused("the content of /*! */ depends on the server's version: write it without the comment", 1235)
    if text.startswith("+", position):
        hint = text[position + 1 : min(end, position + 2048)]
        if not _SAFE_HINT.match(hint) or _HARMFUL_HINT.search(hint):
            raise Refused("this optimizer hint is not supported (quotes, SET_VAR, limits): leave it out", 1235)
        tokens.has_hint = True
    return end + 2


def _string_end(text: str, position: int) -> Generator[None, None, int]:
    quote = text[position - 1]
    while True:
        piece_end = _STRING_PIECES[quote].match(text, position).end()  # type: ignore[union-attr]  # it matches emptiness
        if text.startswith(quote, piece_end) and not text.startswith(quote, piece_end + 1):
            return piece_end + 1
        if piece_end == position:
            raise Refused(_UNTERMINATED.format("string"))
        position = piece_end
        yield


def _bits_end(text: str, start: int, position: int) -> Generator[None, None, int]:
    quoted, piece = (
        text[position - 1] == "'",
        _HEX_PIECE if text[start : start + 2].lower() in ("x'", "0x") else _BIN_PIECE,
    )
    first = position
    while True:
        piece_end = piece.match(text, position).end()  # type: ignore[union-attr]  # it matches emptiness
        if piece_end == position:
            break
        position = piece_end
        yield
    odd = quoted and piece is _HEX_PIECE and (position - first) % 2
    well_ended = text.startswith("'", position) if quoted else not _CONTINUES_NAME.match(text, position)
    if odd or not well_ended or (position == first and not quoted):
        raise Refused("a hexadecimal or bit literal is malformed: write x'…' with pairs of digits, or 0x…")
    return position + quoted


def _reason_for(text: str, position: int) -> str:
    character = text[position]
    if character.isdigit() or character.isalpha() or character == "_":
        return f"the name or number at offset {position} reads differently by context: put a name into backticks"
    return _REASON_BY_CHARACTER.get(character, f"the character {character!r} at offset {position} is not SQL")
