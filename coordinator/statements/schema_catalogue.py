"""What the coordinator must know of users' tables to tell whether a statement gives the same rows on every node.

A value, read at one moment and never changed; it is right for one `schema_version` only (adapters/schema_reader.py says how
that is made sure of). Two questions are hard, and both are about order. *Which columns fix a row?* Those of a unique key, where
none of them is NULL: NULLs are equal to nothing, so a nullable key has many rows without a value. *When are equal values
identical?* For whole numbers, decimals, times and bytes; not for text under a collation ('a' = 'A'), not for PAD SPACE
collations ('a' = 'a '), not for floating point (0 = -0), whose sums also depend on the order of their terms.
"""

import copy
from collections.abc import Iterable, Mapping
from functools import cached_property

import msgspec

from statements.sql_shapes import PlainInsert

INTEGERS = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint", "bit", "year"})
EXACT_NUMBERS = INTEGERS | {"decimal"}
TIMES = frozenset({"date", "datetime", "timestamp", "time"})
BYTES = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"})
TEXTS = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext"})
NAMED = frozenset({"enum", "set"})
"""Stored as numbers; two members that are equal under the collation cannot be defined."""
EXACT_COLLATION = "utf8mb4_0900_bin"
"""The one that compares code points and pads nothing."""
SORTED_CHARS_MAX = 64
"""A sort looks at the first max_sort_length (1024) bytes of a text under a PAD SPACE collation; so many are surely seen."""
SORTED_BYTES_MAX = 1024
PADS_NOTHING = "_0900_"
"""In the names of the collations that a sort compares whole."""


class ColumnFacts(msgspec.Struct, frozen=True):
    name: str
    """In small letters."""
    type: str
    collation: str = ""
    chars: int = 0
    is_nullable: bool = False
    is_auto_increment: bool = False
    default_is_null: bool = False
    """An INSERT that does not name it stores NULL."""
    generated_from: str = ""
    """The expression of a generated column."""

    @property
    def is_exact_number(self) -> bool:
        return self.type in EXACT_NUMBERS

    @property
    def is_exact(self) -> bool:
        """Whether values that compare as equal are the same bytes."""
        return (
            self.type in EXACT_NUMBERS
            or self.type in TIMES
            or self.type in BYTES
            or self.type in NAMED
            or (self.type in TEXTS and self.collation == EXACT_COLLATION)
        )

    @property
    def is_sorted_whole(self) -> bool:
        """Whether a sort tells all its values apart."""
        if self.type in TEXTS:
            return PADS_NOTHING in self.collation or self.chars <= SORTED_CHARS_MAX
        if self.type in BYTES:
            return self.chars <= SORTED_BYTES_MAX
        return self.type in EXACT_NUMBERS or self.type in TIMES or self.type in NAMED


class UniqueKey(msgspec.Struct, frozen=True):
    name: str
    columns: tuple[str, ...]
    """In small letters; without those parts that are expressions."""
    expressions: tuple[str, ...] = ()
    is_nullable: bool = False

    @property
    def is_primary(self) -> bool:
        return self.name == "PRIMARY"


class ForeignKey(msgspec.Struct, frozen=True):
    name: str
    table: tuple[str, str]
    """(schema, table) of the child."""
    parent: tuple[str, str]
    parent_columns: tuple[str, ...]
    on_update: str
    on_delete: str


class TriggerFacts(msgspec.Struct, frozen=True):
    name: str
    event: str
    """INSERT, UPDATE or DELETE."""
    body: str


class Table(msgspec.Struct, frozen=True):
    schema: str
    name: str
    columns: Mapping[str, ColumnFacts]
    unique_keys: tuple[UniqueKey, ...] = ()
    triggers: tuple[TriggerFacts, ...] = ()
    is_view: bool = False
    view_body: str = ""
    behind: tuple[tuple[str, str], ...] = ()
    """(schema, name) of what a view reads."""
    is_partitioned: bool = False

    @property
    def auto_increment(self) -> str | None:
        return next((name for name, column in self.columns.items() if column.is_auto_increment), None)

    @property
    def primary_key(self) -> UniqueKey | None:
        return next((key for key in self.unique_keys if key.is_primary), None)

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


class Catalogue:
    """All users' tables and views at one moment."""

    def __init__(
        self, version: int, database: str, tables: Iterable[Table], foreign_keys: Iterable[ForeignKey] = ()
    ) -> None:
        self.version = version
        self.database = database
        """The default one."""
        self._tables = {(table.schema, table.name): table for table in tables}
        self.merging: dict[PlainInsert, bool] = {}
        """What schema_merging.py found out, kept as long as the catalogue."""
        self.exact_shapes: set[str] = set()
        """Shapes of statements that were found exact (schema_judge.py), kept as long as the catalogue."""
        self.children: dict[tuple[str, str], list[ForeignKey]] = {}
        """Parent -> the foreign keys that point to it."""
        for key in foreign_keys:
            self.children.setdefault(key.parent, []).append(key)

    def within(self, database: str) -> "Catalogue":
        """The same, with another default database: in the body of a trigger it is the trigger's own."""
        if database == self.database:
            return self
        other = copy.copy(self)
        other.database = database
        return other

    def find(self, schema: str, name: str) -> Table | None:
        return self._tables.get((schema or self.database, name))

    def at(self, place: tuple[str, str]) -> Table | None:
        return self._tables.get(place)

    @cached_property
    def tables_with_triggers(self) -> tuple[Table, ...]:
        return tuple(table for table in self._tables.values() if table.triggers)

    def bases(self, table: Table) -> tuple[Table, ...]:
        """The tables that hold the rows: the table itself, or what stands behind a view, however deep."""
        found: dict[tuple[str, str], Table] = {}
        ahead = [table]
        while ahead:
            following = ahead.pop()
            if (following.schema, following.name) in found:
                continue
            found[following.schema, following.name] = following
            ahead += [behind for place in following.behind if (behind := self.at(place)) is not None]
        return tuple(base for base in found.values() if not base.is_view)
