"""Small random histories, and the definition of strict serializability as a search: the oracle for the checkers.

The search tries every order that real time allows. It is exponential, and so short that it is seen to be right.
"""

import random
from collections.abc import Mapping

from history import Append, History, MicroOperation, Operation, Outcome, Read

Values = tuple[int, ...]
Lists = Mapping[str, Values]
KEYS = ("x", "y")


def is_strictly_serializable(history: History) -> bool:
    possible = [each for each in history.operations if each.outcome is not Outcome.FAIL]
    return _some_order_fits(possible, {}, history.final_reads)


def _some_order_fits(remaining: list[Operation], lists: Lists, final_reads: Lists) -> bool:
    if all(each.outcome is Outcome.INFO for each in remaining) and all(
        lists.get(key, ()) == values for key, values in final_reads.items()
    ):
        return True  # what is left never happened
    for operation in remaining:
        others = [each for each in remaining if each is not operation]
        if any(returned_before(each, operation) for each in others):
            continue
        after = apply(operation, lists)
        if after is not None and _some_order_fits(others, after, final_reads):
            return True
    return False


def returned_before(first: Operation, second: Operation) -> bool:
    return first.outcome is Outcome.OK and first.returned_ns is not None and first.returned_ns < second.invoked_ns


def apply(operation: Operation, lists: Lists) -> Lists | None:
    """The lists after it; None if its answers do not fit."""
    after = dict(lists)
    for micro in operation.micro_operations:
        if isinstance(micro, Append):
            after[micro.key] = (*after.get(micro.key, ()), micro.value)
        elif isinstance(micro, Read) and micro.values is not None and micro.values != after.get(micro.key, ()):
            return None
    return after


def small_history(rng: random.Random) -> History:
    """Up to five operations. They take effect one by one; now and then one reads the past, is lost, halved or undone."""
    operations_total = rng.randint(2, 5)
    values = {key: iter(range(1, 100)) for key in KEYS}
    past: list[dict[str, Values]] = [{}]
    operations: list[Operation] = []
    keeps_time = rng.random() < 0.7
    for i in range(operations_total):
        outcome = rng.choices(list(Outcome), [8, 1, 2])[0]
        after = dict(past[-1])
        read_from = past[-1] if rng.random() < 0.75 else rng.choice(past)
        own: dict[str, Values] = {}
        micros: list[MicroOperation] = []
        happens = outcome is Outcome.OK or rng.random() < (0.5 if outcome is Outcome.INFO else 0.1)
        for _ in range(rng.randint(1, 3)):
            key = rng.choice(KEYS)
            if rng.random() < 0.5:
                value = next(values[key])
                micros.append(Append(key, value))
                if happens and rng.random() < 0.95:
                    after[key] = (*after.get(key, ()), value)
                    own[key] = (*own.get(key, ()), value)
            else:
                seen = read_from.get(key, ()) + own.get(key, ())
                micros.append(Read(key, seen if outcome is Outcome.OK else None))
        past.append(after)
        invoked_ns = 2 * i - rng.randrange(5) if keeps_time else rng.randrange(2 * operations_total)
        returned_ns = None if outcome is Outcome.INFO else max(invoked_ns, 2 * i + rng.randrange(4))
        operations.append(Operation(i, invoked_ns, returned_ns, outcome, tuple(micros)))
    rng.shuffle(operations)
    return History(operations, {key: past[-1].get(key, ()) for key in KEYS})
