"""The laws that a lexed statement is held to: which functions, words and schemas it may name, and how.

A law is a table, and the check is one walk over the tokens, so that no clause can be forgotten by a grammar that is
younger than a server. What may stand before a `(` is the heart of it: each name that is followed by one is a function
of MySQL's own that the law knows, a keyword, or a name in one of the few places where a list of columns follows.
Everything else would be a stored or loadable function, of whose effects the text says nothing.

The hard case is the quoted name: MySQL takes `` `sleep`(5) `` for its own function as well as for a stored one, so a
quoted name before a `(` is never known, but is denied under its name. And a schema may be quoted and have spaces and
comments around its dot; the lexer has taken those away.
"""

from collections.abc import Generator, Set

import msgspec

from statements import sql_rules as rules
from statements.sql_lexer import NAME, ROWS, Refused, Tokens

UNSUPPORTED = 1235
_ACCESS_DENIED = 1142
_NO_SUCH_FUNCTION = 1305
_PAUSE_TOKENS = 1024
_TABLES_MAX = 64
_TABLES_LOOKED_FOR_IN_TOKENS = 1024
_ORDER_LOOKED_FOR_IN_TOKENS = 1024


class Law(msgspec.Struct, frozen=True):
    functions_denied: dict[str, str]
    words_denied: dict[str, str]
    schemas_denied: Set[str]
    order_matters: bool
    defines_tables: bool = False
    """In a definition a name before a `(` is mostly an index, a type or a table: only denied functions are looked for."""


READ = Law(rules.NEVER_CALLED, rules.WORDS_NOT_IN_READS, rules.SYSTEM_SCHEMAS, order_matters=False)
WRITE = Law(rules.NOT_IN_WRITES, rules.WORDS_NOT_IN_WRITES, rules.READ_ONLY_SCHEMAS, order_matters=True)
DEFINITION = Law(
    rules.NOT_IN_WRITES | {"RAND": rules.RAND_IN_SCHEMA},
    {word: rules.WORDS_NOT_IN_WRITES[word] for word in ("CURRENT_USER", "@@")},
    rules.READ_ONLY_SCHEMAS,
    order_matters=True,
    defines_tables=True,
)
VALUES = Law(  # of rows that stand in the text: sql_writes puts values in the place of those two
    {name: reason for name, reason in rules.NOT_IN_WRITES.items() if name not in ("UUID", "RANDOM_BYTES")},
    WRITE.words_denied,
    WRITE.schemas_denied,
    order_matters=True,
)
VIEW = Law(rules.NOT_IN_VIEWS, rules.WORDS_NOT_IN_VIEWS, rules.READ_ONLY_SCHEMAS, order_matters=False)
TRIGGER = Law(
    WRITE.functions_denied | {"RAND": rules.RAND_IN_SCHEMA},
    WRITE.words_denied,
    WRITE.schemas_denied,
    order_matters=True,
)
_TABLES_FOLLOW = frozenset({"FROM", "JOIN", "STRAIGHT_JOIN", "TABLE"})
_HAVE_A_FROM = frozenset({"EXTRACT", "TRIM", "SUBSTRING", "SUBSTR", "MID"})
_NAMES_FOLLOW = frozenset({"KEY", "INDEX", "UNIQUE", "REFERENCES", "TABLE", "ON", "EXISTS", "CONSTRAINT", "ADD"})


def check(
    tokens: Tokens, start: int, law: Law, column_lists: Set[int] = frozenset(), end: int | None = None
) -> Generator[None, None, bool]:
    """Raises Refused; returns whether RAND() is called. `column_lists`: where a `(` opens a list of columns."""
    keys, uses_random = tokens.keys, False
    if law.order_matters and tokens.has_hint:
        raise Refused(rules.WRITE_HINT, UNSUPPORTED)
    for index in range(start, len(keys) if end is None else end):
        key = keys[index]
        if index % _PAUSE_TOKENS == 0:
            yield
        if key in ("(", ROWS):
            if index not in column_lists:
                uses_random |= _check_call(tokens, index, law)
        elif key == ".":
            _check_schema(tokens, index - 1, law)
        elif key == NAME:
            if tokens.name(index).lower() == rules.RESERVED_SCHEMA:
                raise _access_denied(rules.RESERVED_SCHEMA)
        elif key == rules.RESERVED_SCHEMA.upper():
            raise _access_denied(rules.RESERVED_SCHEMA)
        elif key in law.words_denied:
            raise Refused(f"{key} is refused here: {law.words_denied[key]}", UNSUPPORTED)
        elif key == "FOR" and tokens.key(index + 1) in ("UPDATE", "SHARE"):
            raise Refused(f"FOR {keys[index + 1]} is refused here: {rules.LOCKING_READ}", UNSUPPORTED)
    return uses_random


def skip(tokens: Tokens, index: int, words: Set[str]) -> int:
    """Behind any of `words`, which are few in any statement that MySQL would take."""
    return next((at for at in range(index, index + 16) if tokens.key(at) not in words), index)


def check_bare_schemas(tokens: Tokens, start: int, law: Law) -> None:
    """For the few statements in which a name without a dot is a schema; they are short."""
    for index in range(start, min(len(tokens.keys), start + _PAUSE_TOKENS)):
        if tokens.is_name(index) and tokens.name(index).lower() in law.schemas_denied:
            raise _access_denied(tokens.name(index))


def names_schema(tokens: Tokens, start: int, schemas: Set[str]) -> Generator[None, None, bool]:
    """Whether one of `schemas` is named before a dot."""
    for index in range(start, len(tokens.keys)):
        if index % _PAUSE_TOKENS == 0:
            yield
        if tokens.keys[index] == "." and _is_schema(tokens, index - 1, schemas):
            return True
    return False


def _check_schema(tokens: Tokens, index: int, law: Law) -> None:
    if _is_schema(tokens, index, law.schemas_denied):
        raise _access_denied(tokens.name(index))


def _is_schema(tokens: Tokens, index: int, schemas: Set[str]) -> bool:
    is_first = tokens.key(index - 1) != "."
    return is_first and tokens.is_name(index) and tokens.name(index).lower() in schemas


def _access_denied(schema: str) -> Refused:
    return Refused(
        f"the schema {schema} belongs to the server or the cluster: use a database of your own", _ACCESS_DENIED
    )


def _check_call(tokens: Tokens, opening: int, law: Law) -> bool:
    callee = opening - 1
    if not tokens.is_name(callee):
        return False
    word, before = tokens.key(callee), tokens.key(callee - 1)
    function = tokens.name(callee).upper() if word == NAME else word
    if function in law.functions_denied and not (law.defines_tables and before in _NAMES_FOLLOW):
        raise Refused(f"{function}() is refused here: {law.functions_denied[function]}", UNSUPPORTED)
    if function == "GROUP_CONCAT" and law.order_matters and not _has_order(tokens, opening):
        raise Refused(
            "GROUP_CONCAT() in a write needs an ORDER BY inside: rows may come in another order elsewhere", UNSUPPORTED
        )
    if word in rules.MAY_PRECEDE_PARENTHESIS or law.defines_tables:
        return word == "RAND"
    closing = tokens.partners[opening]
    # `AS d (a, b)` names columns, `AS CHAR(10)` a type, `WITH c (a, b) AS (` columns again: no call fits there.
    if before == "AS" or (tokens.key(closing + 1) == "AS" and tokens.key(closing + 2) == "("):
        return False
    raise Refused(
        f"{tokens.raw(callee)}() is not a built-in function that the cluster knows: stored and loadable functions are"
        " not supported, and a list of columns after an alias needs AS before the alias",
        _NO_SUCH_FUNCTION,
    )


def _has_order(tokens: Tokens, opening: int) -> bool:
    index = opening + 1
    closing = min(tokens.partners[opening], index + _ORDER_LOOKED_FOR_IN_TOKENS)
    while index < closing:
        if tokens.keys[index] == "ORDER":
            return True
        index = tokens.partners[index] + 1 if tokens.keys[index] == "(" else index + 1
    return False


def chain_end(tokens: Tokens, index: int) -> int:
    """Behind `a`, `a.b` or `a.b.c`; `index` itself if there is no name."""
    for _ in range(3):
        if not tokens.is_name(index):
            break
        index += 1
        if tokens.key(index) != ".":
            break
        index += 1
    return index


def names_from(tokens: Tokens, index: int) -> list[str]:
    """The tables of a list `db.t AS a, u b, v`; names as written, without backticks and the space around dots."""
    return _names_and_end(tokens, index)[0]


def _names_and_end(tokens: Tokens, index: int) -> tuple[list[str], int]:
    names: list[str] = []
    last_end = index
    while len(names) < _TABLES_MAX and (end := chain_end(tokens, index)) > index:
        names.append(".".join(tokens.name(part) for part in range(index, end, 2)))
        last_end = end
        end += tokens.key(end) == "AS"
        end += tokens.is_name(end)
        if tokens.key(end) != ",":
            break
        index = end + 1
    return names, last_end


def tables_of(tokens: Tokens, start: int) -> tuple[str, ...]:
    """A best effort: the names behind FROM, JOIN and TABLE, without those that WITH defines."""
    found: dict[str, None] = {}
    common: set[str] = set()
    callees: list[str] = []
    index, end = start, min(len(tokens.keys), start + _TABLES_LOOKED_FOR_IN_TOKENS)
    while index < end:
        key = tokens.keys[index]
        if key == "(":
            callees.append(tokens.key(index - 1))
            if tokens.key(index - 1) == "AS":
                columns = index - 2
                name = tokens.partners[columns] - 1 if tokens.key(columns) == ")" else columns
                if tokens.is_name(name):
                    common.add(tokens.name(name).lower())
        elif key == ")" and callees:
            callees.pop()
        elif key in _TABLES_FOLLOW and not (key == "FROM" and callees and callees[-1] in _HAVE_A_FROM):
            names, index = _names_and_end(tokens, index + 1)
            found.update(dict.fromkeys(names))
            continue
        index += 1
    return tuple(name for name in found if name.lower() not in common)
