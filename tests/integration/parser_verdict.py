"""What the parser and the schema's judge say to a text, in the few words that the proofs against real servers need.

One place that knows their interface, for all of those proofs. The catalogue is a real server's, read by the same queries.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from made_values import with_values

from statements.query_parser import Kind, Refused, Statement, parse
from statements.schema_catalogue import Catalogue
from statements.schema_judge import judge
from statements.schema_tables import QUERIES, catalogue_of


@dataclass(frozen=True)
class Verdict:
    """`refusal` is None where the text is taken; `statement` is None where the text alone was refused."""

    refusal: str | None
    statement: Statement | None = None

    @property
    def is_read(self) -> bool:
        return self._is(Kind.READ)

    @property
    def is_write(self) -> bool:
        return self._is(Kind.WRITE)

    @property
    def is_schema_change(self) -> bool:
        return self._is(Kind.SCHEMA_CHANGE)

    def _is(self, kind: Kind) -> bool:
        return self.refusal is None and self.statement is not None and self.statement.kind is kind

    @property
    def logged(self) -> str:
        """The text of its entry: with values in the place of calls that give another result at each execution."""
        assert self.statement is not None
        return with_values(self.statement.text, self.statement.splices)


def catalogue_on(ask: Callable[[str], Iterable[tuple[Any, ...]]], database: str) -> Catalogue:
    """`ask` runs a query on the server whose tables are meant."""
    return catalogue_of(1, database, {part: list(ask(query)) for part, query in QUERIES.items()})


def verdict_of(text: str, catalogue: Catalogue) -> Verdict:
    """Anything that is raised but Refused is a fault, and passes through."""
    try:
        statement = parse(text)
    except Refused as refused:
        return Verdict(refused.reason)
    if statement.rests_on_schema:
        try:
            judge(statement, catalogue)
        except Refused as refused:
            return Verdict(refused.reason, statement)
    return Verdict(None, statement)
