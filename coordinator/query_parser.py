"""Decides what one SQL text is: a read, a write, a schema change, or refused with the reason.

The log carries statements, so this is part of correctness: an entry is a text and everything that its effect depends
on, and every node executes it. The rule is default-deny: a text passes only if each word of it that could matter is
known; left to MySQL is only what MySQL refuses by itself, such as clauses in a wrong order. Invariants:

* A READ changes nothing, locks nothing and leaves nothing in a session.
* A WRITE gives the same rows on every node, given the pins that its entry carries: the time, the insert id, the
  random seeds, the default database and the session's settings.
* `text` is a slice of what came in, never made anew from a tree, and ends with its last token: no comment, no `;`.

The hard case is what a text does not show: a view, a column default. Hence definitions are held to the rules of writes
before they exist. And what only the schema can tell (whether an ORDER BY names a unique key) is refused for now.

sql_lexer cuts the tokens, this module tells the verbs apart, sql_checks holds each to its law, sql_rules has the names
and the sentences.
"""

import enum
from collections.abc import Generator
from functools import lru_cache

import msgspec
import sql_rules as rules
from sql_checks import (
    DEFINITION,
    READ,
    UNSUPPORTED,
    VIEW,
    WRITE,
    chain_end,
    check,
    check_bare_schemas,
    names_from,
    skip,
    tables_of,
)
from sql_lexer import LITERAL, ROWS, Refused, Tokens, is_one_row, tokenize

__all__ = ["Kind", "Refused", "Statement", "parse", "parse_in_steps"]

_CACHED_CHARS_MAX = 2048
_CACHED_TEXTS_MAX = 2048
_DEFINITIONS_MAX = 256
_PAUSE_TOKENS = 1024


class Kind(enum.Enum):
    READ = "read"
    WRITE = "write"
    SCHEMA_CHANGE = "schema change"


class Statement(msgspec.Struct, frozen=True):
    """`tables` is a best effort for messages and metrics: nothing that must be right may rest on it."""

    kind: Kind
    text: str
    verb: str
    tables: tuple[str, ...]
    uses_random: bool
    inserts: bool


_Steps = Generator[None, None, Statement]


def parse(text: str) -> Statement:
    """Raises Refused. A megabyte takes tens of milliseconds: on an event loop, drive parse_in_steps with long texts."""
    return _parse_cached(text) if len(text) <= _CACHED_CHARS_MAX else _run(text)


def parse_in_steps(text: str) -> _Steps:
    """As parse, in steps of at most 2 ms: yields between them, so that whoever drives it can let others run."""
    tokens = yield from tokenize(text)
    return (yield from _classify(tokens))


def _run(text: str) -> Statement:
    steps = parse_in_steps(text)
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            statement: Statement = finished.value
            return statement


_parse_cached = lru_cache(_CACHED_TEXTS_MAX)(_run)


def _classify(tokens: Tokens) -> _Steps:
    verb = tokens.keys[0]
    if verb in ("SELECT", "WITH", "VALUES", "TABLE", "("):
        verb, index = _main_verb(tokens, 0)
        if verb in ("UPDATE", "DELETE"):
            return (yield from _update_or_delete(tokens, verb, index))
        return (yield from _read(tokens, verb, 0))
    if verb in ("INSERT", "REPLACE"):
        return (yield from _insert(tokens, verb))
    if verb in ("UPDATE", "DELETE"):
        return (yield from _update_or_delete(tokens, verb, 0))
    if verb == "SHOW":
        return (yield from _show(tokens))
    if verb in ("DESC", "DESCRIBE", "EXPLAIN"):
        return (yield from _explain(tokens, "EXPLAIN" if verb == "EXPLAIN" else "DESCRIBE"))
    if verb in ("CREATE", "ALTER", "DROP", "RENAME", "TRUNCATE"):
        return (yield from _schema_change(tokens, verb))
    if verb in rules.REFUSED_VERBS:
        sentence = rules.REFUSED_VERBS.get(f"{verb} {tokens.key(1)}", rules.REFUSED_VERBS[verb])
        raise Refused(f"{verb} is refused: {sentence}", UNSUPPORTED)
    raise Refused(f"{tokens.raw(0)[:64]!r} begins no statement that the cluster knows: check its first word")


def _made(
    tokens: Tokens, kind: Kind, verb: str, tables: tuple[str, ...], uses_random: bool = False, inserts: bool = False
) -> Statement:
    text = tokens.text[tokens.starts[0] : tokens.ends[-1]]
    return Statement(kind, text, verb, tables, uses_random, inserts)


def _main_verb(tokens: Tokens, index: int) -> tuple[str, int]:
    """The verb behind the definitions of WITH and behind opening parentheses, and where it stands."""
    while tokens.key(index) == "(":
        index += 1
    if tokens.key(index) == "WITH":
        index += 2 if tokens.key(index + 1) == "RECURSIVE" else 1
        for _ in range(_DEFINITIONS_MAX):
            index += tokens.is_name(index)
            if tokens.key(index) == "(" and tokens.key(tokens.partners[index] + 1) == "AS":
                index = tokens.partners[index] + 1
            if tokens.key(index) != "AS" or tokens.key(index + 1) != "(":
                raise Refused("WITH needs a name, AS and a query in parentheses")
            index = tokens.partners[index + 1] + 1
            if tokens.key(index) != ",":
                break
            index += 1
        while tokens.key(index) == "(":
            index += 1
    verb = tokens.key(index)
    if verb in ("SELECT", "TABLE") or (verb == "VALUES" and tokens.key(index + 1) == "ROW"):
        return verb, index
    if verb in ("UPDATE", "DELETE") and tokens.key(index - 1) != "(":
        return verb, index
    raise Refused("here must stand SELECT, TABLE, VALUES ROW(…), UPDATE or DELETE: check the statement's beginning")


def _read(tokens: Tokens, verb: str, start: int) -> _Steps:
    uses_random = yield from check(tokens, start, READ)
    return _made(tokens, Kind.READ, verb, tables_of(tokens, start), uses_random)


def _insert(tokens: Tokens, verb: str) -> _Steps:
    index = skip(tokens, 1, {"LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE"})
    index += tokens.key(index) == "INTO"
    target, index = index, chain_end(tokens, index)
    if index == target:
        raise Refused(f"{verb} needs the name of a table")
    column_lists = set()
    if tokens.key(index) == "PARTITION" and tokens.key(index + 1) == "(":
        index = tokens.partners[index + 1] + 1
    if tokens.key(index) == ROWS or (
        tokens.key(index) == "(" and tokens.key(index + 1) not in ("SELECT", "WITH", "TABLE", "VALUES", "(")
    ):
        column_lists.add(index)
        index = tokens.partners[index] + 1
    source, next_key = tokens.key(index), tokens.key(index + 1)
    if source in ("SELECT", "WITH", "TABLE", "(") or (source in ("VALUES", "VALUE") and next_key == "ROW"):
        raise Refused(f"{verb} from a query is refused: {rules.INSERT_SELECT}", UNSUPPORTED)
    if source != "SET" and (source not in ("VALUES", "VALUE") or next_key not in ("(", ROWS)):
        raise Refused(f"{verb} needs VALUES (…) or SET behind the table and its columns")
    may_skip_rows = "IGNORE" in tokens.keys[:4] or "DUPLICATE" in tokens.keys
    if may_skip_rows and source != "SET" and not is_one_row(tokens, index + 1):
        raise Refused(
            f"{verb} of several rows with IGNORE or ON DUPLICATE KEY is refused: {rules.SKIPPED_IDS}", UNSUPPORTED
        )
    uses_random = yield from check(tokens, 1, WRITE, column_lists)
    if uses_random and "SELECT" in tokens.keys:
        raise Refused(f"RAND() is refused beside a SELECT: {rules.RAND_IN_SCAN}", UNSUPPORTED)
    tables = tuple(dict.fromkeys([*names_from(tokens, target)[:1], *tables_of(tokens, index)]))
    return _made(tokens, Kind.WRITE, verb, tables, uses_random, inserts=True)


def _update_or_delete(tokens: Tokens, verb: str, start: int) -> _Steps:
    index = skip(tokens, start + 1, {"LOW_PRIORITY", "QUICK"})
    if tokens.key(index) == "IGNORE":
        raise Refused(f"{verb} IGNORE is refused: {rules.WRITE_IGNORE}", UNSUPPORTED)
    if ("SET" if verb == "UPDATE" else "FROM") not in tokens.keys:
        raise Refused("UPDATE needs SET" if verb == "UPDATE" else "DELETE needs FROM")
    if (yield from check(tokens, 0, WRITE)):
        raise Refused(f"RAND() is refused in {verb}: {rules.RAND_IN_SCAN}", UNSUPPORTED)
    tables = names_from(tokens, index) if verb == "UPDATE" else []
    return _made(tokens, Kind.WRITE, verb, tuple(dict.fromkeys([*tables, *tables_of(tokens, 0)])))


_SHOWN = {"TABLES", "DATABASES", "SCHEMAS", "COLUMNS", "FIELDS", "INDEX", "INDEXES", "KEYS", "COLLATION", "CHARSET"}
_SHOWN |= {"ENGINES", "VARIABLES"}
_SHOWN_BY_TWO_WORDS = {("TABLE", "STATUS"), ("CHARACTER", "SET"), ("STORAGE", "ENGINES")}
_SHOWN_BY_TWO_WORDS |= {("CREATE", what) for what in ("TABLE", "VIEW", "DATABASE", "SCHEMA")}


def _show(tokens: Tokens) -> _Steps:
    index = skip(tokens, 1, {"FULL", "EXTENDED", "GLOBAL", "SESSION", "LOCAL"})
    what = tokens.key(index)
    if what in ("WARNINGS", "ERRORS", "COUNT"):
        raise Refused(f"SHOW {what} is refused: no session outlives a request, see the answer itself", UNSUPPORTED)
    two_words = (what, tokens.key(index + 1)) in _SHOWN_BY_TWO_WORDS
    if what not in _SHOWN and not two_words:
        raise Refused("this SHOW tells about a server, not about data: ask the coordinator's /status", UNSUPPORTED)
    index += 2 if two_words else 1
    yield from check(tokens, index, READ)
    check_bare_schemas(tokens, index, READ)
    tables = names_from(tokens, index) if tokens.key(index - 1) in ("TABLE", "VIEW") else []
    if what in ("COLUMNS", "FIELDS", "INDEX", "INDEXES", "KEYS"):
        tables = names_from(tokens, index + 1)
    return _made(tokens, Kind.READ, "SHOW", tuple(tables))


def _explain(tokens: Tokens, verb: str) -> _Steps:
    index = skip(tokens, 1, {"ANALYZE", "FORMAT", "=", "JSON", "TREE", "TRADITIONAL", LITERAL})
    if tokens.key(index) in ("SELECT", "WITH", "VALUES", "TABLE", "("):
        explained, _ = _main_verb(tokens, index)
    else:
        explained = tokens.key(index)
    if explained in ("INSERT", "REPLACE", "UPDATE", "DELETE"):
        raise Refused(f"{verb} {explained} is refused: explain a SELECT with the same tables and WHERE", UNSUPPORTED)
    if explained in ("FOR", "INTO"):
        raise Refused(f"{verb} {explained} is refused: explain the SELECT itself", UNSUPPORTED)
    if explained in ("SELECT", "VALUES", "TABLE"):
        return (yield from _read(tokens, verb, index))
    end = chain_end(tokens, index)
    column = tokens.is_name(end) or tokens.key(end) == LITERAL
    if index != 1 or end == index or end + column != len(tokens.keys):
        raise Refused(f"{verb} needs one table, or a SELECT")
    yield from check(tokens, 1, READ)
    return _made(tokens, Kind.READ, verb, tuple(names_from(tokens, index)))


_CHANGED = {
    "CREATE": ("TABLE", "VIEW", "INDEX", "DATABASE", "SCHEMA"),
    "ALTER": ("TABLE",),
    "DROP": ("TABLE", "TABLES", "VIEW", "INDEX", "DATABASE", "SCHEMA"),
    "RENAME": ("TABLE", "TABLES"),
    "TRUNCATE": ("TABLE",),
}
_BEFORE_VIEW = {"OR", "REPLACE", "ALGORITHM", "=", "UNDEFINED", "MERGE", "TEMPTABLE"} | {"SQL", "SECURITY", "INVOKER"}


def _schema_change(tokens: Tokens, verb: str) -> _Steps:
    index = 1
    if verb == "CREATE" and tokens.key(1) in ("UNIQUE", "FULLTEXT", "SPATIAL"):
        index = 2 if tokens.key(2) == "INDEX" else 1
    if verb == "CREATE":
        index = skip(tokens, index, _BEFORE_VIEW)
    what = tokens.key(index)
    if verb == "TRUNCATE" and what != "TABLE":
        what, index = "TABLE", 0
    if what in rules.REFUSED_OBJECTS:
        raise Refused(f"{verb} {what} is refused: {rules.REFUSED_OBJECTS[what]}", UNSUPPORTED)
    if what not in _CHANGED[verb] or (index > 2 and what != "VIEW"):
        raise Refused(f"this {verb} is not supported: tables, indexes, views and databases can be changed", UNSUPPORTED)
    tables: list[str] = []
    index += 1
    if what in ("DATABASE", "SCHEMA"):
        check_bare_schemas(tokens, index, DEFINITION)
    elif what == "INDEX":
        tables = names_from(tokens, tokens.keys.index("ON") + 1) if "ON" in tokens.keys else []
    else:
        index = skip(tokens, index, {"IF", "NOT", "EXISTS"})
        tables = names_from(tokens, index)
    if verb == "CREATE" and what == "VIEW":
        yield from check(tokens, 1, VIEW, column_lists={chain_end(tokens, index)})
    if verb in ("CREATE", "ALTER") and what == "TABLE":
        yield from _check_table(tokens, index, creates=verb == "CREATE")
    yield from check(tokens, 1, DEFINITION)
    return _made(tokens, Kind.SCHEMA_CHANGE, f"{verb} {what}", tuple(tables))


def _check_table(tokens: Tokens, start: int, creates: bool) -> Generator[None, None, None]:
    for index in range(start, len(tokens.keys)):
        key, next_key = tokens.keys[index], tokens.key(index + 1)
        if index % _PAUSE_TOKENS == 0:
            yield
        if key == "SELECT" or (creates and (key == "TABLE" or (key == "VALUES" and next_key == "ROW"))):
            raise Refused(f"it is refused: {rules.SCHEMA_SELECT}", UNSUPPORTED)
        if key == "ENGINE":
            value = index + 2 if next_key == "=" else index + 1
            if value >= len(tokens.keys) or tokens.raw(value).strip("'\"`").lower() != "innodb":
                raise Refused(
                    "only ENGINE = InnoDB can roll back: leave ENGINE out (a column of that name: `engine`)", 1235
                )
        if key in ("TABLESPACE", "SECONDARY_ENGINE") or (key in ("DATA", "INDEX") and next_key == "DIRECTORY"):
            raise Refused(f"{key} is refused: where a node keeps its files is the administrator's to say", UNSUPPORTED)
        if next_key == "PARTITION" and key in ("ANALYZE", "CHECK", "OPTIMIZE", "REPAIR"):
            raise Refused(f"{key} is refused: {rules.REFUSED_VERBS[key]}", UNSUPPORTED)
