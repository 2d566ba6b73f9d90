"""CREATE TRIGGER: bodies whose every statement passes the law of writes.

A body is the only text in which a `;` is part of one statement, so here the lexer's invariant is kept by grammar: MySQL ends the
statement at the first `;` that is not inside BEGIN … END, and closes that at the first END that follows a `;`. So a `;` is taken
only between BEGIN, right behind FOR EACH ROW, and an END that is the last word of all; every statement between begins with a
word that opens nothing of its own, but IF, which is followed to its END IF. A text in which MySQL saw another end than this
module has been looked for on a real server (tests/integration/test_lexer_against_mysql.py).

What a body may do: SET NEW.column, INSERT, REPLACE, UPDATE, DELETE, IF, SIGNAL. Variables, loops, handlers and calls are refused.
"""

from collections.abc import Generator

from statements import sql_rules as rules
from statements.sql_checks import TRIGGER, UNSUPPORTED, chain_end, check
from statements.sql_lexer import TWO_STATEMENTS, Refused, Tokens
from statements.sql_names import PAUSE_ITEMS, on_level, table_at
from statements.sql_queries import read_queries, refuse_strange_limits
from statements.sql_shapes import Claim, Definition, Relation, TableName, Trigger
from statements.sql_writes import Write, assignments_in, read_change, read_insert

_DML = frozenset({"INSERT", "REPLACE", "UPDATE", "DELETE"})
_STATEMENTS = _DML | {"SET", "SIGNAL"}
Span = tuple[int, int]


class TriggerHead:
    """`CREATE TRIGGER [IF NOT EXISTS] name BEFORE|AFTER event ON table FOR EACH ROW [FOLLOWS|PRECEDES other]`."""

    def __init__(self, tokens: Tokens) -> None:
        index = 2
        if tokens.keys[2:5] == ["IF", "NOT", "EXISTS"]:
            index = 5
        end = chain_end(tokens, index)
        timing, event, on = (tokens.key(end + offset) for offset in range(3))
        table = end + 3
        after = chain_end(tokens, table)
        if timing not in ("BEFORE", "AFTER") or event not in ("INSERT", "UPDATE", "DELETE") or on != "ON":
            raise Refused("CREATE TRIGGER needs a name, BEFORE or AFTER, INSERT, UPDATE or DELETE, and ON table")
        if after == table or tokens.keys[after : after + 3] != ["FOR", "EACH", "ROW"]:
            raise Refused("CREATE TRIGGER needs a table and FOR EACH ROW")
        self.event = event
        self.table = table_at(tokens, table)
        body = after + 3
        if tokens.key(body) in ("FOLLOWS", "PRECEDES"):
            body = chain_end(tokens, body + 1)
        self.body = body


def read_trigger(tokens: Tokens) -> Generator[None, None, Definition]:
    head = TriggerHead(tokens)
    trigger = yield from read_body(tokens, head.body)
    if head.table in trigger.writes:
        reason = f"a trigger cannot write to its own table {head.table}: set NEW.column in a BEFORE trigger"
        raise Refused(reason, 1442, "HY000")
    return Definition("CREATE TRIGGER", "TRIGGER", (head.table,), trigger=trigger, event=head.event)


def read_body(tokens: Tokens, start: int) -> Generator[None, None, Trigger]:
    """The body that begins at token `start` and ends with the text."""
    end = len(tokens.keys)
    if start >= end:
        raise Refused("CREATE TRIGGER needs a body behind FOR EACH ROW")
    if tokens.key(start) == "BEGIN":
        if tokens.keys[end - 1] != "END" or tokens.keys[end - 2] != ";":
            raise Refused("the body of a trigger must end with END, and each statement in it with `;`")
        spans = yield from _statements(tokens, start + 1, end - 1)
    else:
        if ";" in tokens.keys:
            raise Refused(f"{TWO_STATEMENTS} (the body of a trigger with several is BEGIN … END)")
        if tokens.key(start) not in _STATEMENTS:
            raise Refused(f"{tokens.raw(start)[:64]} in a trigger is refused: {rules.TRIGGER_BODY}", UNSUPPORTED)
        spans = [(start, end)]
    sets: list[str] = []
    claims: list[Claim] = []
    writes: list[TableName] = []
    relations: dict[Relation, None] = {}
    touches = False
    for begin, stop in spans:
        yield
        verb = tokens.key(begin)
        if verb in _DML:
            write = yield from _write(tokens, verb, begin, stop)
            claims += write.claims
            writes += write.written
            relations.update(dict.fromkeys(write.relations))
            touches = True
            continue
        if begin >= stop:
            raise Refused("IF in a trigger needs a condition")
        yield from check(tokens, begin, TRIGGER, end=stop)
        if verb == "SET":
            for assignment in (yield from assignments_in(tokens, begin + 1, stop)):
                if assignment.column.table.upper() != "NEW":
                    raise Refused(f"SET in a trigger is refused: {rules.TRIGGER_BODY}", UNSUPPORTED)
                sets.append(assignment.column.name)
        found = yield from read_queries(tokens, begin, stop)
        refuse_strange_limits(tokens.keys[begin:stop], found)
        claims += found.claims
        relations.update(found.relations)
        touches = touches or bool({"SELECT", "TABLE"} & set(tokens.keys[begin:stop]))
    return Trigger(tuple(dict.fromkeys(sets)), tuple(claims), tuple(relations), tuple(dict.fromkeys(writes)), touches)


def _write(tokens: Tokens, verb: str, start: int, end: int) -> Generator[None, None, Write]:
    if verb in ("INSERT", "REPLACE"):
        return (yield from read_insert(tokens, verb, start, end, TRIGGER))
    return (yield from read_change(tokens, verb, start, start, end, TRIGGER))


def _statements(tokens: Tokens, start: int, end: int) -> Generator[None, None, list[Span]]:
    """The statements between BEGIN and END, and the conditions of IF among them; each statement ends with a `;`."""
    spans: list[Span] = []
    index, opened = start, 0
    steps = 0
    while index < end:
        steps += 1
        if steps % PAUSE_ITEMS == 0:
            yield
        word = tokens.keys[index]
        if word in ("IF", "ELSEIF"):
            then = yield from _find(tokens, index, end, "THEN")
            spans.append((index + 1, then))
            opened += word == "IF"
            index = then + 1
        elif word == "ELSE":
            index += 1
        elif word == "END" and tokens.key(index + 1) == "IF" and tokens.key(index + 2) == ";" and opened:
            opened -= 1
            index += 3
        elif word in _STATEMENTS:
            stop = yield from _find(tokens, index, end, ";")
            spans.append((index, stop))
            index = stop + 1
        else:
            raise Refused(f"{tokens.raw(index)[:64]} in a trigger is refused: {rules.TRIGGER_BODY}", UNSUPPORTED)
        if opened == 0 and tokens.key(index - 1) != ";":
            raise Refused("ELSE and ELSEIF need an IF before them")
    if opened:
        raise Refused("an IF in the trigger has no END IF")
    return spans


def _find(tokens: Tokens, start: int, end: int, word: str) -> Generator[None, None, int]:
    """The next `word` outside of parentheses; THEN not of a CASE. No statement may be passed on the way."""
    cases = 0
    for index in on_level(tokens, start, end, {"CASE", "END", ";", word}):
        if index is None:
            yield
            continue
        key = tokens.keys[index]
        if key == "CASE":
            cases += 1
        elif key == "END" and cases:
            cases -= 1
        elif key == word and not cases:
            return index
        elif key == ";":
            break
    raise Refused(f"the body of the trigger lacks {word}: each statement ends with `;`, each IF condition with THEN")
