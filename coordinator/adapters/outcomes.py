"""Which of MySQL's errors are a statement's result, the same wherever the rows are, and which speak of the surroundings."""

from adapters.mysql_session import ServerError
from replication.values import Disturbed, Rejected

DISTURBANCES = frozenset(
    {
        3,  # error writing a file
        1004,  # cannot create a file
        1006,  # cannot create a database's folder
        1010,  # cannot remove a database's folder
        1016,  # cannot open a file
        1018,  # cannot read a folder
        1021,  # disk full
        1023,  # error closing a file
        1024,  # error reading a file
        1025,  # error renaming a file
        1026,  # error writing file
        1030,  # error from the storage engine
        1034,  # damaged index file
        1036,  # read-only table
        1037,  # out of memory
        1038,  # out of sort memory
        1041,  # out of memory
        1053,  # the server shuts down
        1114,  # the table is full
        1135,  # cannot create a thread
        1180,  # error during COMMIT
        1181,  # error during ROLLBACK
        1194,  # damaged table
        1195,  # damaged table, not repaired
        1205,  # lock wait time-out
        1206,  # lock table full
        1213,  # deadlock
        1223,  # a read lock is held
        1290,  # the server runs with an option that prevents it (read_only)
        1297,  # temporary error of the storage engine
        1317,  # query interrupted
        1637,  # too many active transactions
        1714,  # damaged index
        1792,  # read-only transaction
        1799,  # too many changes beside an ALTER
        1812,  # a table's file is missing
        1813,  # a table's file is there already: left over from a crash, and on this server only
        1815,  # internal error
        1817,  # damaged index
        1836,  # read-only mode
        1878,  # error writing a temporary file
        3024,  # statement time exceeded
        3169,  # the session was ended
        3170,  # memory capacity exceeded
        3675,  # disk full, while a table is created
        3678,  # a database's folder is there already: left over as well
        3679,  # a database's folder is missing
        3680,  # cannot create a database's folder
    }
)
"""MySQL errors that speak of the surroundings, not of the statement: never a request's result."""


def outcome_of(error: ServerError, statement: int = 0) -> Disturbed | Rejected:
    """`statement`: which of its request's it was."""
    if error.errno in DISTURBANCES:
        return Disturbed(error.errno, error.sqlstate, error.message)
    return Rejected(error.errno, error.sqlstate, error.message, statement)
