"""What the log says of a write is read from its statement."""

import msgspec
from history import Append, CompareAndSet, Transfer
from log_entries import entries_in, pairs_in
from transactions import statements_of
from workload import sql_of

from replication.log import Batch, Entry


def test_a_statement_names_what_it_writes() -> None:
    assert pairs_in(sql_of((Append("3", 17), Append("5", 18)))) == [("3", 17), ("5", 18)]
    assert pairs_in(sql_of((CompareAndSet("3", 1, 2, None),))) == [("3", 2)]
    assert pairs_in(sql_of((Transfer("3", "4", 5),))) == []
    assert pairs_in("INSERT INTO lists (id, elements) VALUES (3, '')") == []


def test_a_rows_entries_are_found_at_their_timestamps() -> None:
    batch = Batch(
        1, (Entry(5, sql_of((Append("3", 17),)), 1, 0, 0), Entry(7, "DELETE FROM lists WHERE id = 9", 1, 0, 0))
    )
    assert entries_in([msgspec.msgpack.encode(batch), b""]) == {5: [("3", 17)]}


def test_the_entries_of_one_batch_are_one_write() -> None:
    texts = [statement["query"] for micro in (Append("3", 17), Append("5", 18)) for statement in statements_of(micro)]
    batch = Batch(1, tuple(Entry(5, sql, 1) for sql in texts))
    assert entries_in([msgspec.msgpack.encode(batch)]) == {5: [("3", 17), ("5", 18)]}
