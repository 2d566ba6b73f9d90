"""What the text of a write says of itself that only the schema can judge: the claims of a Statement.

A text alone cannot tell whether `ORDER BY code` names a unique key, or whether SUM(amount) adds floating point numbers. So
parsing notes the facts that the verdict rests on, as values, and schema_judge.py compares them with the catalogue. A fact that
could not be read is noted as missing, never guessed: a missing fact can only lead to a refusal.

Names: of columns in small letters, since MySQL does not tell them apart by case; of tables and aliases as written.
"""

import enum

import msgspec


class Shape(msgspec.Struct, frozen=True):
    """Base: immutable and hashable, since a Statement is cached."""


class TableName(Shape, frozen=True):
    schema: str
    """Empty: the default database."""
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


class Column(Shape, frozen=True):
    table: str
    """The alias or table before the dot; empty where there is none."""
    name: str
    """`*` stands for all columns."""

    def __str__(self) -> str:
        return f"{self.table}.{self.name}" if self.table else self.name


class Relation(Shape, frozen=True):
    """What one item of a FROM clause reads."""

    table: TableName | None
    """None: a query in parentheses, a WITH, or something that was not understood."""
    alias: str


class Literal(enum.Enum):
    NUMBER = "number"
    STRING = "string"


class Equality(Shape, frozen=True):
    """`column = other`, in force for every row of the result."""

    column: Column
    other: Column | Literal
    toward: str = ""
    """In the ON of a LEFT JOIN: the alias of the side that may be missing. Nothing else follows from it."""


class Query(Shape, frozen=True):
    """One SELECT, or the rows that an UPDATE or DELETE meets."""

    relations: tuple[Relation, ...]
    equalities: tuple[Equality, ...] = ()
    order: tuple[Column, ...] = ()
    """Those items of ORDER BY that are bare columns."""
    groups: tuple[Column | None, ...] | None = None
    """None: no GROUP BY."""
    is_one_row: bool = False
    """An aggregate without GROUP BY, or no FROM."""
    is_compound: bool = False
    """UNION and its kin."""
    is_limited: bool = False
    keeps_text_order: bool = False
    """VALUES ROW(…), ROW(…): the text itself gives the order."""


class Splice(Shape, frozen=True):
    """A call in the text whose value is made by whoever sends it, once, and stands in its place."""

    start: int
    end: int
    function: str
    size_bytes: int = 0
    """Of RANDOM_BYTES."""


class Limited(Shape, frozen=True):
    """A subquery with LIMIT: which rows it takes must be beyond doubt."""

    query: Query


class Exact(Shape, frozen=True):
    """`what` is the same for any order of rows only if these columns are of types whose equal values are identical."""

    what: str
    columns: tuple[Column, ...]
    adds: bool = False
    """Sums: the columns must be exact numbers besides."""
    is_understood: bool = True


class Concatenated(Shape, frozen=True):
    """GROUP_CONCAT(arguments ORDER BY order)."""

    arguments: tuple[Column, ...]
    order: tuple[Column, ...]
    query: Query


class Assignment(Shape, frozen=True):
    column: Column
    is_constant: bool
    """The same for all rows of the statement."""
    reads: tuple[Column, ...]


class Change(Shape, frozen=True):
    """UPDATE or DELETE."""

    verb: str
    rows: Query
    targets: tuple[str, ...]
    """Aliases of the tables that DELETE names; empty for UPDATE, whose assignments tell."""
    assignments: tuple[Assignment, ...] = ()
    skips_errors: bool = False
    """IGNORE."""
    is_multi_table: bool = False


class Insertion(Shape, frozen=True):
    """INSERT or REPLACE."""

    verb: str
    table: TableName
    columns: tuple[str, ...] | None
    """None: no list was given, so all columns are."""
    skips_errors: bool
    updates_duplicates: bool
    is_one_row: bool
    source: Query | None = None
    """None: the rows stand in the text."""
    new_values: tuple[str, ...] = ()
    """Columns whose new value ON DUPLICATE KEY UPDATE reads: VALUES(a), alias.a. `*`: any, by names that were not understood."""


class RowIds(Shape, frozen=True):
    """Rows of VALUES that may name some ids of an AUTO_INCREMENT column and leave others to the server."""

    table: TableName
    columns: tuple[str, ...] | None
    """None: no list was given, so all columns are."""
    skips_errors: bool
    rows: str
    """The text from the first row on."""


class PlainInsert(Shape, frozen=True):
    """INSERT INTO … VALUES with one row of plain values."""

    table: TableName
    columns: tuple[str, ...] | None
    """In small letters. None: no list was given, so all columns are."""


class Trigger(Shape, frozen=True):
    """What the body of a trigger does."""

    sets: tuple[str, ...]
    """Columns of its own row."""
    claims: tuple["Claim", ...]
    """Of each of its statements."""
    relations: tuple[Relation, ...]
    writes: tuple[TableName, ...]
    touches_tables: bool
    """Whether it reads or writes any table: then the order in which rows fire it matters."""


class Definition(Shape, frozen=True):
    """A schema change that must be compared with what is there."""

    verb: str
    what: str
    tables: tuple[TableName, ...]
    references: tuple[TableName, ...] = ()
    touches_keys: bool = False
    numbers_rows: bool = False
    """It adds an AUTO_INCREMENT column to rows that are there."""
    trigger: Trigger | None = None
    event: str = ""
    schema: str = ""
    """Of DROP DATABASE."""


OneStep = Limited | Exact | Concatenated | Change | Insertion | Definition
"""Judged without a pause."""
Claim = OneStep | RowIds


def weight_of(claim: Claim) -> int:
    """How many columns must be looked up for it, about."""
    if isinstance(claim, Exact):
        return len(claim.columns)
    if isinstance(claim, Concatenated):
        return len(claim.arguments) + len(claim.order)
    if isinstance(claim, Change):
        return sum(1 + len(assignment.reads) for assignment in claim.assignments)
    return 1
