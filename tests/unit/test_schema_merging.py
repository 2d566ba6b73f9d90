"""Whether inserts into a table may be executed together is a matter of its triggers, its ids and what it is."""

import re
from pathlib import Path

import msgspec
import pytest

from statements.query_parser import parse
from statements.schema_catalogue import Catalogue, ColumnFacts, Table, TriggerFacts
from statements.schema_merging import STAMPING, may_merge
from statements.schema_triggers import body_of

INIT_SQL = Path(__file__).resolve().parents[2] / "mysql-config" / "init.sql"
PLAIN = Table("d", "t", {name: ColumnFacts(name, "int") for name in ("id", "a")})
WITH_IDS = msgspec.structs.replace(
    PLAIN, columns={**PLAIN.columns, "id": ColumnFacts("id", "int", is_auto_increment=True)}
)


def merges(table: Table, text: str = "INSERT INTO t (a) VALUES (1)") -> bool:
    plain = parse(text).plain
    assert plain is not None
    return may_merge(plain, Catalogue(1, "d", [table]))


def triggered(event: str, body: str) -> Table:
    return msgspec.structs.replace(PLAIN, triggers=(TriggerFacts("x", event, body),))


def test_a_table_without_ids_and_triggers_merges() -> None:
    assert merges(PLAIN)
    assert merges(PLAIN, "INSERT INTO d.t VALUES (1, 2)")


def test_ids_merge_where_the_server_makes_them_all() -> None:
    assert merges(WITH_IDS)
    assert not merges(WITH_IDS, "INSERT INTO t (Id, a) VALUES (5, 1)")
    assert not merges(WITH_IDS, "INSERT INTO t (id, a) VALUES (NULL, 1)")
    assert not merges(WITH_IDS, "INSERT INTO t VALUES (5, 1)")


def test_a_trigger_keeps_inserts_apart_unless_it_is_the_one_that_stamps_rows() -> None:
    assert merges(triggered("INSERT", STAMPING))
    assert merges(triggered("INSERT", STAMPING + ";"))
    assert merges(triggered("UPDATE", "SET NEW.a = 1"))
    assert not merges(triggered("INSERT", "SET NEW.a = 1"))
    assert not merges(triggered("INSERT", "SET NEW.timestamp = @write_timestamp"))
    both = (TriggerFacts("x", "INSERT", STAMPING), TriggerFacts("y", "INSERT", "SET NEW.a = 1"))
    assert not merges(msgspec.structs.replace(PLAIN, triggers=both))
    twice = (TriggerFacts("x", "INSERT", STAMPING), TriggerFacts("y", "INSERT", STAMPING))
    assert not merges(msgspec.structs.replace(PLAIN, triggers=twice))


@pytest.mark.parametrize("facts", [{"is_view": True}, {"is_partitioned": True}])
def test_a_view_and_a_partitioned_table_do_not_merge(facts: dict[str, bool]) -> None:
    assert not merges(msgspec.structs.replace(PLAIN, **facts))


def test_what_is_not_in_the_catalogue_does_not_merge() -> None:
    assert not merges(PLAIN, "INSERT INTO u (a) VALUES (1)")
    assert not merges(PLAIN, "INSERT INTO e.t (a) VALUES (1)")


def test_the_stamping_trigger_is_the_one_that_init_sql_makes_and_is_understood() -> None:
    (body,) = re.findall(r"BEFORE INSERT ON distributed_db\.users\s+FOR EACH ROW (.*);", INIT_SQL.read_text("utf-8"))
    assert body == STAMPING
    for kept in (STAMPING, STAMPING + ";"):
        trigger = body_of(kept)
        assert trigger is not None
        assert (trigger.sets, trigger.touches_tables) == (("timestamp",), False)
