"""Which of MySQL's errors are a statement's result, the same wherever the rows are, and which speak of the surroundings."""

from adapters.mysql_session import ServerError
from replication.values import Disturbed, Outcome, Rejected

DISTURBANCES = frozenset(
    {
        3,  # error writing a file
        1021,  # disk full
        1026,  # error writing file
        1030,  # error from the storage engine
        1037,  # out of memory
        1038,  # out of sort memory
        1041,  # out of memory
        1053,  # the server shuts down
        1114,  # the table is full
        1135,  # cannot create a thread
        1180,  # error during COMMIT
        1181,  # error during ROLLBACK
        1205,  # lock wait time-out
        1206,  # lock table full
        1213,  # deadlock
        1290,  # the server runs with an option that prevents it (read_only)
        1317,  # query interrupted
        1637,  # too many active transactions
        1792,  # read-only transaction
        1836,  # read-only mode
        1878,  # error writing a temporary file
        3024,  # statement time exceeded
        3170,  # memory capacity exceeded
    }
)
"""MySQL errors that speak of the surroundings, not of the statement: never a request's result."""


def outcome_of(error: ServerError) -> Outcome:
    kind = Disturbed if error.errno in DISTURBANCES else Rejected
    return kind(error.errno, error.sqlstate, error.message)
