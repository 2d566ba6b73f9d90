"""Decides what one SQL text is: a read, a write, a schema change, or refused with the reason.

The log carries statements, so this is part of correctness: an entry is a text and everything that its effect depends
on, and every node executes it. The rule is default-deny: a text passes only if each word of it that could matter is
known; left to MySQL is only what MySQL refuses by itself, such as clauses in a wrong order. Invariants:

* A READ changes nothing, locks nothing and leaves nothing in a session.
* A WRITE gives the same rows on every node, given the pins that its entry carries: the time, the insert id, the
  random seeds, the default database and the session's settings.
* `text` is a slice of what came in, never made anew from a tree, and ends with its last token: no comment, no `;`.

The hard case is what a text does not show: the schema. Whether an ORDER BY names a unique key, whether a sum adds floating
point numbers, what a trigger does. Such facts are noted as claims, and a statement that has some `rests_on_schema`: it may
be run only when schema_judge.py has found them true, and only on a master that still has that schema.

sql_lexer cuts the tokens, this module tells the verbs apart, sql_checks holds each to its law, sql_rules has the names
and the sentences; sql_writes, sql_definitions and sql_triggers read writes and schema changes, sql_queries the SELECTs in them.
"""

import enum
from collections.abc import Generator
from functools import lru_cache

import msgspec

from statements import sql_rules as rules
from statements.plain_inserts import halves_of, read_head
from statements.sql_checks import (
    READ,
    UNSUPPORTED,
    WRITE,
    chain_end,
    check,
    check_bare_schemas,
    names_from,
    names_schema,
    skip,
    tables_of,
)
from statements.sql_definitions import read_schema_change
from statements.sql_lexer import LITERAL, Refused, Tokens, finish, tokenize
from statements.sql_shapes import Claim, PlainInsert, Relation, Splice, weight_of
from statements.sql_writes import Write, read_change, read_insert
from statements.text_shapes import shape_of, statement_in

__all__ = ["Kind", "Refused", "Statement", "parse", "parse_in_steps"]

_CACHED_CHARS_MAX = 2048
_CACHED_TEXTS_MAX = 2048
_KNOWN_HEADS_MAX = 1024
_KNOWN_SHAPES_MAX = 1024
_DEFINITIONS_MAX = 256
_WEIGHT_MAX = 16_384
"""Of what must be compared with the schema: columns times tables, so that no judgement takes long."""


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
    uses_random: bool = False
    inserts: bool = False
    claims: tuple[Claim, ...] = ()
    """What must be true of the schema for the statement to be taken."""
    relations: tuple[Relation, ...] = ()
    """What a write reads."""
    splices: tuple[Splice, ...] = ()
    """Calls in `text` that give way to a value, made anew for each request."""
    plain: PlainInsert | None = None
    """It is one row of plain values for a table."""
    row_at: int = 0
    """Where in `text` that row begins."""
    asks_server: bool = False
    """A read of something else than users' tables: what the server says of itself depends on who asks it."""
    shape: str = ""
    """What it has in common with texts of the same verdict; empty: nothing that is known."""

    @property
    def rests_on_schema(self) -> bool:
        return bool(self.claims or self.relations)

    @property
    def pins(self) -> tuple[str, ...]:
        """What its log entry carries beside the text."""
        if self.kind is Kind.READ:
            return ()
        always = ("time", "default database", "session settings")
        ids = ("insert id",) * self.inserts
        return always + ids + ("random seeds",) * self.uses_random + ("values made",) * bool(self.splices)


_Steps = Generator[None, None, Statement]


def parse(text: str) -> Statement:
    """Raises Refused. A megabyte takes tens of milliseconds: on an event loop, drive parse_in_steps with long texts."""
    if len(text) > _CACHED_CHARS_MAX:
        return _run(text)
    halves = halves_of(text)
    if halves is None:
        return _parse_by_shape(text)
    known = _known_heads.get(halves.head)
    if known is None:
        known = _parse_cached(text)
        if known.rests_on_schema or known.splices or known.uses_random:
            return known
        if len(_known_heads) >= _KNOWN_HEADS_MAX:
            _known_heads.clear()
        plain, row_at = read_head(halves.head), len(halves.head)
        known = _known_heads[halves.head] = msgspec.structs.replace(known, plain=plain, row_at=row_at)
    return Statement(
        Kind.WRITE,
        halves.head + halves.row,
        "INSERT",
        known.tables,
        inserts=True,
        plain=known.plain,
        row_at=known.row_at,
    )


def _parse_by_shape(text: str) -> Statement:
    shape = shape_of(text)
    if not shape:
        return _parse_cached(text)
    known = _known_shapes.get(shape)
    if known is not None:
        return msgspec.structs.replace(known, text=statement_in(text))
    statement = _parse_cached(text)
    if statement.verb in _BY_SHAPE and statement.text == statement_in(text):
        if len(_known_shapes) >= _KNOWN_SHAPES_MAX:
            _known_shapes.clear()
        statement = _known_shapes[shape] = msgspec.structs.replace(statement, shape=shape)
    return statement


def parse_in_steps(text: str) -> _Steps:
    """As parse, in steps of at most 2 ms: yields between them, so that whoever drives it can let others run."""
    tokens = yield from tokenize(text)
    return (yield from _classify(tokens))


def _run(text: str) -> Statement:
    return finish(parse_in_steps(text))


_parse_cached = lru_cache(_CACHED_TEXTS_MAX)(_run)
_BY_SHAPE = frozenset({"SELECT", "UPDATE", "DELETE"})
"""In the others values may matter: which ids an INSERT names, what a default is."""
_known_shapes: dict[str, Statement] = {}
"""Verdicts by what is left of a text without the values of its plain literals (text_shapes.py)."""
_known_heads: dict[str, Statement] = {}
"""Verdicts on plain inserts by their heads: a row of plain values changes nothing in one (plain_inserts.py)."""


def _classify(tokens: Tokens) -> _Steps:
    verb, end = tokens.keys[0], len(tokens.keys)
    if verb in ("SELECT", "WITH", "VALUES", "TABLE", "("):
        verb, index = _main_verb(tokens, 0)
        if verb in ("UPDATE", "DELETE"):
            return _write(tokens, (yield from read_change(tokens, verb, 0, index, end, WRITE)))
        return (yield from _read(tokens, verb, 0))
    if verb in ("INSERT", "REPLACE"):
        return _write(tokens, (yield from read_insert(tokens, verb, 0, end, WRITE)))
    if verb in ("UPDATE", "DELETE"):
        return _write(tokens, (yield from read_change(tokens, verb, 0, 0, end, WRITE)))
    if verb == "SHOW":
        return (yield from _show(tokens))
    if verb in ("DESC", "DESCRIBE", "EXPLAIN"):
        return (yield from _explain(tokens, "EXPLAIN" if verb == "EXPLAIN" else "DESCRIBE"))
    if verb in ("CREATE", "ALTER", "DROP", "RENAME", "TRUNCATE"):
        change = yield from read_schema_change(tokens, verb)
        claims = () if change.claim is None else (change.claim,)
        return Statement(Kind.SCHEMA_CHANGE, _text_of(tokens), change.verb, change.tables, claims=claims)
    if verb in rules.REFUSED_VERBS:
        sentence = rules.REFUSED_VERBS.get(f"{verb} {tokens.key(1)}", rules.REFUSED_VERBS[verb])
        raise Refused(f"{verb} is refused: {sentence}", UNSUPPORTED)
    raise Refused(f"{tokens.raw(0)[:64]!r} begins no statement that the cluster knows: check its first word")


def _text_of(tokens: Tokens) -> str:
    return tokens.text[tokens.starts[0] : tokens.ends[-1]]


def _write(tokens: Tokens, write: Write) -> Statement:
    if sum(map(weight_of, write.claims)) * max(1, len(write.relations)) > _WEIGHT_MAX:
        raise Refused(f"the statement is refused: {rules.TOO_INVOLVED}", UNSUPPORTED)
    return Statement(
        Kind.WRITE,
        _text_of(tokens),
        write.verb,
        write.tables,
        write.uses_random,
        write.inserts,
        write.claims,
        write.relations,
        write.splices,
    )


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
    asks_server = "." in tokens.keys and (yield from names_schema(tokens, start, rules.READ_ONLY_SCHEMAS))
    return Statement(Kind.READ, _text_of(tokens), verb, tables_of(tokens, start), uses_random, asks_server=asks_server)


_SHOWN = {"TABLES", "DATABASES", "SCHEMAS", "COLUMNS", "FIELDS", "INDEX", "INDEXES", "KEYS", "COLLATION", "CHARSET"}
_SHOWN |= {"ENGINES", "VARIABLES"}
_SHOWN_BY_TWO_WORDS = {("TABLE", "STATUS"), ("CHARACTER", "SET"), ("STORAGE", "ENGINES")}
_SHOWN_BY_TWO_WORDS |= {("CREATE", what) for what in ("TABLE", "VIEW", "DATABASE", "SCHEMA")}


def _show(tokens: Tokens) -> _Steps:
    index = skip(tokens, 1, {"FULL", "EXTENDED", "GLOBAL", "SESSION", "LOCAL"})
    what = tokens.key(index)
    if what in ("WARNINGS", "ERRORS", "COUNT"):
        raise Refused(f"SHOW {what} is refused: no session outlives a request, see the answer itself", UNSUPPORTED)
    if what == "TRIGGERS" or (what, tokens.key(index + 1)) == ("CREATE", "TRIGGER"):
        raise Refused(
            "SHOW TRIGGERS is refused: the account that reads may not see them, ask who made them", UNSUPPORTED
        )
    two_words = (what, tokens.key(index + 1)) in _SHOWN_BY_TWO_WORDS
    if what not in _SHOWN and not two_words:
        raise Refused("this SHOW tells about a server, not about data: ask the coordinator's /status", UNSUPPORTED)
    index += 2 if two_words else 1
    yield from check(tokens, index, READ)
    check_bare_schemas(tokens, index, READ)
    tables = names_from(tokens, index) if tokens.key(index - 1) in ("TABLE", "VIEW") else []
    if what in ("COLUMNS", "FIELDS", "INDEX", "INDEXES", "KEYS"):
        tables = names_from(tokens, index + 1)
    return Statement(Kind.READ, _text_of(tokens), "SHOW", tuple(tables), asks_server=True)


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
        read = yield from _read(tokens, verb, index)
        return msgspec.structs.replace(read, asks_server=True)
    end = chain_end(tokens, index)
    column = tokens.is_name(end) or tokens.key(end) == LITERAL
    if index != 1 or end == index or end + column != len(tokens.keys):
        raise Refused(f"{verb} needs one table, or a SELECT")
    yield from check(tokens, 1, READ)
    return Statement(Kind.READ, _text_of(tokens), verb, tuple(names_from(tokens, index)), asks_server=True)
