"""Values for the markers of a text: `?` in their order, or `:name` by name.

A bound text is one in which each marker has given way to a literal, because the log carries texts. The invariants:

* Markers are found by the lexer, so none is in a string, a quoted name or a comment.
* A value becomes exactly one literal token, whatever it holds, and touches nothing beside it.
* The bound text is judged like any other. So a wrong literal could only be refused, or be another value; not another statement.

Types: null, true and false, whole numbers of up to 65 digits (as DECIMAL has), floating point numbers, text, and what JSON has no
type for: `{"decimal": "12.50"}` and `{"base64": "…"}`. A list or any other object is no value.
"""

import base64
import binascii
import math
import re
from collections.abc import Generator, Mapping, Sequence
from functools import lru_cache

import msgspec

from statements.sql_lexer import MARKER, finish, tokenize

Parameters = Sequence[object] | Mapping[str, object]

_CACHED_CHARS_MAX = 2048
_CACHED_TEXTS_MAX = 1024
_DIGITS_MAX = 65
_DECIMAL = re.compile(r"-?[0-9]{1,65}(?:\.[0-9]{1,30})?")
_TOUCHES = re.compile(r"""[0-9A-Za-z_$@.?'"`\\:+*/<>=!&|^~%#-]|[^\x00-\x7f]""")
"""Beside a literal it could make another token of both."""
_ESCAPED = str.maketrans({"'": "''", "\\": "\\\\", "\0": "\\0"})


class BadParameters(Exception):
    """The values do not fit the text. The message says what to do."""


class _Template(msgspec.Struct, frozen=True):
    pieces: tuple[str, ...]
    """Between the markers: one more than there are markers, with blanks where a literal would touch something."""
    names: tuple[str, ...]
    """Of each marker, in order; empty for `?`."""


def bind(text: str, parameters: Parameters) -> str:
    """The text with its values. Raises BadParameters, and Refused where the text itself cannot be read. A megabyte takes tens of
    milliseconds: on an event loop, drive bind_in_steps with long texts."""
    return _filled(_cached_template(text) if len(text) <= _CACHED_CHARS_MAX else _template(text), parameters)


def bind_in_steps(text: str, parameters: Parameters) -> Generator[None, None, str]:
    """As bind, with pauses in which others can run."""
    return _filled((yield from _template_in_steps(text)), parameters)


def _filled(template: _Template, parameters: Parameters) -> str:
    literals = [literal(value) for value in _values_for(template.names, parameters)]
    parts = [template.pieces[0]]
    for value, piece in zip(literals, template.pieces[1:], strict=True):
        parts += (value, piece)
    return "".join(parts)


def _values_for(names: tuple[str, ...], parameters: Parameters) -> list[object]:
    if names and isinstance(parameters, Mapping) is not bool(names[0]):
        wanted = "an object with a value for each :name" if names[0] else "a list with a value for each ?"
        raise BadParameters(f"params must be {wanted}")
    if not isinstance(parameters, Mapping):
        if len(parameters) != len(names):
            raise BadParameters(f"the query has {len(names)} markers and params has {len(parameters)} values")
        return list(parameters)
    for name in names:
        if name not in parameters:
            raise BadParameters(f"params has no value for :{name}")
    for name in parameters:
        if name not in names:
            raise BadParameters(f"params has a value for {name[:64]!r}, and the query has no marker :{name[:64]}")
    return [parameters[name] for name in names]


def _template(text: str) -> _Template:
    return finish(_template_in_steps(text))


def _template_in_steps(text: str) -> Generator[None, None, _Template]:
    tokens = yield from tokenize(text, has_markers=True)
    pieces: list[str] = []
    names: list[str] = []
    begin = 0
    for index, key in enumerate(tokens.keys):
        if key == MARKER:
            start, end = tokens.starts[index], tokens.ends[index]
            blank_before = " " if start and _TOUCHES.match(text, start - 1) else ""
            pieces.append(text[begin:start] + blank_before)
            names.append(text[start + 1 : end])
            begin = end
            yield
    pieces.append(text[begin:])
    if len({bool(name) for name in names}) > 1:
        raise BadParameters("the query has markers of both kinds: use ? or :name, not both")
    behind = [(" " if _TOUCHES.match(piece) else "") + piece for piece in pieces[1:]]
    return _Template((pieces[0], *behind), tuple(names))


_cached_template = lru_cache(_CACHED_TEXTS_MAX)(_template)


def literal(value: object) -> str:
    """The value as one literal of MySQL's. Raises BadParameters."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, str):
        return f"'{value.translate(_ESCAPED)}'"
    if isinstance(value, int):
        text = str(value) if -(10**_DIGITS_MAX) < value < 10**_DIGITS_MAX else ""
        if not text:
            raise BadParameters(f"a whole number has more than {_DIGITS_MAX} digits: send it as text")
        return text
    if isinstance(value, float):
        if not math.isfinite(value):
            raise BadParameters("a number is infinite or none: MySQL has no such value")
        return repr(value)
    if isinstance(value, Mapping) and len(value) == 1:
        ((kind, written),) = value.items()
        if kind == "decimal" and isinstance(written, str) and _DECIMAL.fullmatch(written):
            return written
        if kind == "base64" and isinstance(written, str):
            try:
                return f"x'{base64.b64decode(written, validate=True).hex()}'"
            except (binascii.Error, ValueError) as error:
                raise BadParameters(f"a value's base64 cannot be read: {error}") from error
    raise BadParameters(
        'a value must be null, true, false, a number, a text, {"decimal": "12.50"} or {"base64": "…"}; '
        f"{str(value)[:64]!r} is not"
    )
