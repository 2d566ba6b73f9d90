"""Values for calls that give another result at every execution: made once, when the request arrives, and logged as literals.

Not pure, and no part of the protocol's core: randomness and the clock stay at the edge, where rand seeds are drawn too. A UUID
is of version 1, as MySQL's own: UUID_TO_BIN(UUID(), 1) must go on giving keys that grow with time.
"""

import os
import uuid
from collections.abc import Sequence

from statements.sql_shapes import Splice


def with_values(text: str, splices: Sequence[Splice]) -> str:
    """`text` with a literal in the place of each call; everything else is left as it was written."""
    if not splices:
        return text
    pieces, position = [], 0
    for splice in splices:
        pieces += [text[position : splice.start], _literal(splice)]
        position = splice.end
    return "".join([*pieces, text[position:]])


def _literal(splice: Splice) -> str:
    if splice.function == "UUID":
        return f"'{uuid.uuid1()}'"
    return f"x'{os.urandom(splice.size_bytes).hex()}'"


def random_seed() -> int:
    """Of MySQL's RAND(): 60 bits, never 0."""
    return int.from_bytes(os.urandom(8), "big") >> 4 or 1
