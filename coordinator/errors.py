"""The one tree of answers that are not a success, and how each is said over HTTP. Pure.

Split by what the caller may do next: correct the request (4xx, never committed), try again (503, not committed), or find out
(504 or 503 with `committed: "unknown"`: repeat only what may happen twice).
"""

from typing import Literal

Committed = Literal[True, False, "unknown"]

CONFLICT_CLASS = "23"
"""SQLSTATE class of integrity constraint violations."""
DENIED_ERRNOS = frozenset({1044, 1045, 1142, 1143, 1227, 1370})
TOO_LARGE_ERRNOS = frozenset({1153, 1301})
TIMED_OUT_ERRNO = 3024
CHECK_VIOLATED_ERRNO = 3819
"""Its SQLSTATE says nothing."""


REPEAT = "nothing was changed, so it can be sent again; GET /status says what is missing"
LOOK = "look before you repeat it"
_VALUE = "send a value that fits the column: SHOW CREATE TABLE says what it takes"
_HINTS = {
    1048: "give the column a value, or allow NULL in it",
    1049: "SHOW DATABASES lists the databases",
    1054: "SHOW COLUMNS FROM the table lists its columns",
    1062: "choose another key, or write INSERT … ON DUPLICATE KEY UPDATE",
    1064: "look at the place that the message quotes",
    1136: "name the columns, and give each of them one value",
    1146: "SHOW TABLES lists the tables",
    1242: "make the subquery give one row, or compare with IN",
    1264: _VALUE,
    1265: _VALUE,
    1292: _VALUE,
    1364: "name the column and give it a value, or a default",
    1365: "leave the rows out in which the divisor is 0",
    1366: _VALUE,
    1406: _VALUE,
    1451: "remove the rows that refer to it first",
    1452: "insert the row that it refers to first",
    1690: "keep the result within the type's range, or CAST to a larger one",
    CHECK_VIOLATED_ERRNO: "send a value that meets the check: SHOW CREATE TABLE says it",
    TIMED_OUT_ERRNO: "make it smaller, or add an index",
}
"""What to do, where MySQL's message only says what is wrong."""


class QueryError(Exception):
    """An answer with `success: false`. `kind` is a short constant for programs, the message a sentence for people."""

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        *,
        committed: Committed = False,
        errno: int | None = None,
        sqlstate: str | None = None,
        retry_after_s: int | None = None,
        statement_index: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.committed: Committed = committed
        self.errno = errno
        self.sqlstate = sqlstate
        self.retry_after_s = retry_after_s
        self.hint = hint or _HINTS.get(errno or 0)
        """What to do; None: the message says it."""
        self.statement_index = statement_index
        """Which statement of a batch is to blame; None: it was no batch, or none is."""

    def body(self) -> dict[str, object]:
        return {
            "success": False,
            "message": self.message,
            "committed": self.committed,
            "error": {
                "kind": self.kind,
                "errno": self.errno,
                "sqlstate": self.sqlstate,
                "statement_index": self.statement_index,
                "hint": self.hint,
            },
        }


def bad_request(status: int, message: str) -> QueryError:
    """The request is not one: not JSON, a field missing, of the wrong type, or too large."""
    return QueryError(status, "bad_request", message)


def refused(reason: str, errno: int | None, sqlstate: str | None) -> QueryError:
    """The statement was refused before anything happened."""
    if errno == 1064:
        return QueryError(400, "syntax", reason, errno=errno, sqlstate=sqlstate)
    status = 413 if errno in TOO_LARGE_ERRNOS else 403 if errno in DENIED_ERRNOS else 400
    return QueryError(status, "refused", reason, errno=errno, sqlstate=sqlstate)


def rejected(errno: int, sqlstate: str, message: str) -> QueryError:
    """MySQL's own word about the statement."""
    if sqlstate.startswith(CONFLICT_CLASS) or errno == CHECK_VIOLATED_ERRNO:
        return QueryError(409, "constraint", message, errno=errno, sqlstate=sqlstate)
    if errno in DENIED_ERRNOS:
        return QueryError(403, "denied", message, errno=errno, sqlstate=sqlstate)
    if errno == TIMED_OUT_ERRNO:
        return QueryError(504, "timed_out", message, errno=errno, sqlstate=sqlstate)
    kind = "syntax" if errno == 1064 else "statement"
    return QueryError(400, kind, message, errno=errno, sqlstate=sqlstate)


def unauthenticated() -> QueryError:
    """Access is on, and the request has no token, or one that nobody has."""
    hint = "send a token that this coordinator knows: Authorization: Bearer TOKEN"
    return QueryError(401, "unauthenticated", f"the coordinator asks who calls: {hint}", hint=hint)


def denied(held: str, needed: str) -> QueryError:
    """The request's token has a role that is too small."""
    hint = f"send a token of the role {needed}" + ("" if needed == "admin" else ", or of a greater one")
    return QueryError(403, "denied", f"this token's role is {held}, and the request needs {needed}", hint=hint)


def unmet(message: str) -> QueryError:
    """A statement of a batch did not do what the request expects."""
    return QueryError(409, "expectation", f"{message}; nothing of the batch was done")


def unavailable(reason: str, committed: Committed, errno: int | None = None, sqlstate: str | None = None) -> QueryError:
    """The cluster cannot do it now, or cannot tell whether it did."""
    hint = LOOK if committed == "unknown" else REPEAT
    message = f"{reason}; {hint}"
    return QueryError(
        503,
        "unavailable",
        message,
        committed=committed,
        errno=errno,
        sqlstate=sqlstate,
        retry_after_s=1,
        hint=hint,
    )


def unforeseen() -> QueryError:
    """A fault of ours. Nobody can tell how far the request had come."""
    reason = "the coordinator met something that it does not foresee, and has written it to its log"
    return QueryError(500, "unforeseen", f"{reason}; {LOOK}", committed="unknown", hint=LOOK)


def overloaded(reason: str) -> QueryError:
    """There is no room for the request."""
    hint = "nothing was changed: send it again in a moment, and fewer at once"
    return QueryError(429, "overloaded", f"{reason}; {hint}", retry_after_s=1, hint=hint)


def stopping() -> QueryError:
    """What comes while the coordinator answers its last requests."""
    reason = "this coordinator is being stopped and takes no more requests; nothing was changed, so send it again in a moment"
    return QueryError(503, "unavailable", reason, retry_after_s=1)


def cut_off(committed: Committed) -> QueryError:
    """What could not be waited for when the coordinator was stopped."""
    advice = LOOK if committed == "unknown" else "nothing was changed, so it can be sent again"
    reason = f"the coordinator was stopped before this had ended; {advice}"
    return QueryError(503, "unavailable", reason, committed=committed, retry_after_s=1)
