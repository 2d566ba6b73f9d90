"""What the parser says to a text, in the few words that the proofs against real servers need.

One place that knows the parser's interface, for all of them.
"""

from dataclasses import dataclass

from query_parser import Kind, Refused, parse


@dataclass(frozen=True)
class Verdict:
    """`refusal` is None where the text is taken."""

    refusal: str | None
    kind: Kind | None = None
    text: str = ""
    inserts: bool = False
    uses_random: bool = False

    @property
    def is_read(self) -> bool:
        return self.kind is Kind.READ

    @property
    def is_write(self) -> bool:
        return self.kind is Kind.WRITE


def verdict_of(text: str) -> Verdict:
    """Anything that is raised but Refused is a fault of the parser, and passes through."""
    try:
        statement = parse(text)
    except Refused as refused:
        return Verdict(refused.reason)
    return Verdict(None, statement.kind, statement.text, statement.inserts, statement.uses_random)
