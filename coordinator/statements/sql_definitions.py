"""Schema changes: which there are, what may not be in them, and what of them must be compared with the schema that is there.

A schema change runs by itself on every node, in its place in the log, with the time pinned; so it must do the same to equal
rows and equal definitions. The hard case is what it leaves behind: a default, a generated column or a trigger is run by later
writes whose own text does not show it. Hence definitions are held to the law of writes before they exist.

A view is held to little more than the law of reads: a write that reads it is judged by what is in it then (schema_judge.py).
"""

from collections.abc import Generator

import msgspec

from statements import sql_rules as rules
from statements.sql_checks import DEFINITION, UNSUPPORTED, VIEW, chain_end, check, check_bare_schemas, names_from, skip
from statements.sql_lexer import TRIGGER_KEYS, TWO_STATEMENTS, Refused, Tokens
from statements.sql_names import table_at
from statements.sql_shapes import Definition, TableName
from statements.sql_triggers import TriggerHead, read_trigger

_CHANGED = {
    "CREATE": ("TABLE", "VIEW", "INDEX", "DATABASE", "SCHEMA", "TRIGGER"),
    "ALTER": ("TABLE", "VIEW", "DATABASE", "SCHEMA"),
    "DROP": ("TABLE", "TABLES", "VIEW", "INDEX", "DATABASE", "SCHEMA", "TRIGGER"),
    "RENAME": ("TABLE", "TABLES"),
    "TRUNCATE": ("TABLE",),
}
_BEFORE_VIEW = {
    "OR",
    "REPLACE",
    "ALGORITHM",
    "=",
    "UNDEFINED",
    "MERGE",
    "TEMPTABLE",
    "SQL",
    "SECURITY",
    "INVOKER",
    "DEFINER",
}
_TOUCHES_KEYS = frozenset({"AUTO_INCREMENT", "KEY", "INDEX", "UNIQUE", "PRIMARY", "CHANGE", "MODIFY", "RENAME", "DROP"})
_TOUCHES_KEYS |= {"CONSTRAINT", "FOREIGN", "REFERENCES", "EXCHANGE"}
_DATABASE_WORDS = frozenset({"IF", "NOT", "EXISTS", "DEFAULT", "CHARACTER", "SET", "CHARSET", "COLLATE", "="})
_PAUSE_TOKENS = 1024
_PAUSE_TABLES = 128


class SchemaChange(msgspec.Struct, frozen=True):
    verb: str
    tables: tuple[str, ...]
    claim: Definition | None


def read_schema_change(tokens: Tokens, verb: str) -> Generator[None, None, SchemaChange]:
    if tokens.keys[:2] == TRIGGER_KEYS:
        definition = yield from read_trigger(tokens)
        yield from check(tokens, 1, DEFINITION, end=TriggerHead(tokens).body)
        return SchemaChange("CREATE TRIGGER", (str(definition.tables[0]),), definition)
    if ";" in tokens.keys:
        raise Refused(TWO_STATEMENTS)
    what, index = _object(tokens, verb)
    if what == "VIEW" and verb != "DROP":
        return (yield from _view(tokens, verb, index))
    if what in ("DATABASE", "SCHEMA"):
        return (yield from _database(tokens, verb, what, index))
    yield from check(tokens, 1, DEFINITION)
    if what == "TRIGGER":
        return SchemaChange("DROP TRIGGER", (), None)
    if what == "INDEX":
        if "ON" not in tokens.keys:
            raise Refused(f"{verb} INDEX needs ON and a table")
        index = tokens.keys.index("ON") + 1
    else:
        index = skip(tokens, index, {"IF", "NOT", "EXISTS"})
    if chain_end(tokens, index) == index:
        raise Refused(f"{verb} {what} needs a name")
    if verb in ("CREATE", "ALTER") and what == "TABLE":
        yield from _check_table(tokens, index, creates=verb == "CREATE")
    claim = yield from _definition(tokens, verb, what, index)
    return SchemaChange(f"{verb} {what}", tuple(names_from(tokens, index)), claim)


def _object(tokens: Tokens, verb: str) -> tuple[str, int]:
    """What is changed, and where the text goes on behind that word."""
    index = 1
    if verb == "CREATE" and tokens.key(1) in ("UNIQUE", "FULLTEXT", "SPATIAL"):
        index = 2 if tokens.key(2) == "INDEX" else 1
    if verb in ("CREATE", "ALTER"):
        index = skip(tokens, index, _BEFORE_VIEW)
    what = tokens.key(index)
    if verb == "TRUNCATE" and what != "TABLE":
        what, index = "TABLE", 0
    if "DEFINER" in tokens.keys[1:index] and tokens.key(index) != "VIEW":
        raise Refused(f"DEFINER is refused: {rules.REFUSED_DEFINER}", UNSUPPORTED)
    if what in rules.REFUSED_OBJECTS:
        raise Refused(f"{verb} {what} is refused: {rules.REFUSED_OBJECTS[what]}", UNSUPPORTED)
    if what not in _CHANGED[verb] or (index > 2 and what != "VIEW"):
        raise Refused(
            f"this {verb} is not supported: tables, indexes, views, triggers and databases can be changed", UNSUPPORTED
        )
    return what, index + 1


def _view(tokens: Tokens, verb: str, index: int) -> Generator[None, None, SchemaChange]:
    if "DEFINER" in tokens.keys[1 : index - 1] and "SECURITY" not in tokens.keys[1 : index - 1]:
        raise Refused(f"DEFINER is refused: {rules.REFUSED_DEFINER}", UNSUPPORTED)
    index = skip(tokens, index, {"IF", "NOT", "EXISTS"})
    after = chain_end(tokens, index)
    if after == index:
        raise Refused(f"{verb} VIEW needs a name")
    columns = {after} if tokens.key(after) == "(" else set()
    body = tokens.partners[after] + 1 if columns else after
    if tokens.key(body) != "AS":
        raise Refused(f"{verb} VIEW needs AS and a query")
    yield from check(tokens, 1, DEFINITION, columns, body)
    yield from check(tokens, body, VIEW)
    tables = (".".join(tokens.name(part) for part in range(index, after, 2)),)
    return SchemaChange(f"{verb} VIEW", tables, None)


def _database(tokens: Tokens, verb: str, what: str, index: int) -> Generator[None, None, SchemaChange]:
    check_bare_schemas(tokens, index, DEFINITION)
    yield from check(tokens, 1, DEFINITION)
    at = skip(tokens, index, {"IF", "NOT", "EXISTS"})
    name = tokens.name(at) if tokens.is_name(at) and tokens.keys[at] not in _DATABASE_WORDS else ""
    if verb != "ALTER" and not name:
        raise Refused(f"{verb} {what} needs a name")
    for word in ("ENCRYPTION", "READ", "UPGRADE", "DIRECTORY"):
        if word in tokens.keys[at + bool(name) :]:
            raise Refused(f"{word} is refused: {rules.DATABASE_OPTIONS}", UNSUPPORTED)
    claim = Definition(f"DROP {what}", what, (), schema=name) if verb == "DROP" else None
    return SchemaChange(f"{verb} {what}", (), claim)


def _definition(tokens: Tokens, verb: str, what: str, index: int) -> Generator[None, None, Definition | None]:
    keys = tokens.keys
    if verb == "TRUNCATE":
        return None
    references: list[TableName] = []
    numbers_rows = False
    for at, key in enumerate(keys):
        if at % _PAUSE_TOKENS == 0:
            yield
        if key == "REFERENCES" and tokens.is_name(at + 1):
            references.append(table_at(tokens, at + 1))
        numbers_rows |= verb == "ALTER" and key == "AUTO_INCREMENT" and tokens.key(at + 1) != "="
    if verb == "CREATE" and what == "TABLE":
        return Definition("CREATE TABLE", what, (), tuple(references)) if references else None
    tables = yield from _tables(tokens, verb, index)
    if "EXCHANGE" in keys and "TABLE" in keys[index:]:
        tables.append(table_at(tokens, keys.index("TABLE", index) + 1))
    touches_keys = verb in ("DROP", "RENAME") or bool(_TOUCHES_KEYS.intersection(keys[1:]))
    if verb == "CREATE" and what == "INDEX":
        touches_keys = keys[1] == "UNIQUE"
    return Definition(f"{verb} {what}", what, tuple(tables), tuple(references), touches_keys, numbers_rows)


def _tables(tokens: Tokens, verb: str, index: int) -> Generator[None, None, list[TableName]]:
    """All tables that a DROP, RENAME, ALTER or index names as its own; of RENAME the new names too."""
    tables: list[TableName] = []
    while (after := chain_end(tokens, index)) > index:
        tables.append(table_at(tokens, index))
        if len(tables) % _PAUSE_TABLES == 0:
            yield
        if tokens.key(after) not in (",", "TO") or (tokens.key(after) == "TO" and verb != "RENAME"):
            break
        index = after + 1
    return tables


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
                    "only ENGINE = InnoDB can roll back: leave ENGINE out (a column of that name: `engine`)",
                    UNSUPPORTED,
                )
        if key in rules.REFUSED_TABLE_OPTIONS or (key in ("DATA", "INDEX") and next_key == "DIRECTORY"):
            reason = rules.REFUSED_TABLE_OPTIONS.get(key, rules.FILES_OF_NODES)
            raise Refused(f"{key} is refused: {reason}", UNSUPPORTED)
        if key == "START" and next_key == "TRANSACTION":
            raise Refused(f"START TRANSACTION is refused: {rules.REFUSED_VERBS['START']}", UNSUPPORTED)
        if next_key == "PARTITION" and key in ("ANALYZE", "CHECK", "OPTIMIZE", "REPAIR"):
            raise Refused(f"{key} is refused: {rules.REFUSED_VERBS[key]}", UNSUPPORTED)
