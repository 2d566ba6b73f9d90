"""What the lexer and the law say of a whole text: what every shorter way to a verdict must say too."""

import msgspec

from statements.query_parser import Refused, Statement, parse, parse_in_steps
from statements.sql_lexer import finish


def by_the_whole_text(text: str) -> Statement | str:
    try:
        return finish(parse_in_steps(text))
    except Refused as refused:
        return refused.reason


def by_parse(text: str) -> Statement | str:
    """By whatever way `parse` takes, without what only that way tells."""
    try:
        return msgspec.structs.replace(parse(text), plain=None, row_at=0, shape="")
    except Refused as refused:
        return refused.reason
