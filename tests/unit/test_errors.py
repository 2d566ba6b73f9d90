"""Every answer that is not a success: which status, which kind, and what the caller may conclude from it."""

import errors
import pytest
from errors import QueryError
from query_contract import ErrorAnswer

MADE = [
    errors.bad_request(400, "the body is not JSON"),
    errors.bad_request(413, "too large"),
    errors.refused("no SQL", 1064, "42000"),
    errors.refused("empty", 1065, "42000"),
    errors.refused("of unknown reason", None, None),
    errors.rejected(1062, "23000", "Duplicate entry"),
    errors.unauthenticated(),
    errors.denied("read", "write"),
    errors.denied("write", "admin"),
    errors.unavailable("no quorum", False),
    errors.unavailable("it took too long", "unknown"),
    errors.unavailable("lock wait", False, 1205, "HY000"),
    errors.stopping(),
    errors.cut_off(False),
    errors.cut_off("unknown"),
]


@pytest.mark.parametrize("error", MADE, ids=str)
def test_every_error_has_the_published_shape_and_is_a_sentence_to_python_too(error: QueryError) -> None:
    body = error.body()
    assert ErrorAnswer.model_validate(body, strict=True).model_dump() == body
    assert list(body) == ["success", "message", "committed", "error"]
    assert str(error) == error.message == body["message"]
    assert body["success"] is False
    assert 400 <= error.status < 600


@pytest.mark.parametrize(
    ("errno", "sqlstate", "status", "kind"),
    [
        (1062, "23000", 409, "constraint"),
        (1048, "23000", 409, "constraint"),
        (1451, "23000", 409, "constraint"),
        (1452, "23000", 409, "constraint"),
        (3819, "HY000", 409, "constraint"),
        (1044, "42000", 403, "denied"),
        (1045, "28000", 403, "denied"),
        (1142, "42000", 403, "denied"),
        (1143, "42000", 403, "denied"),
        (1227, "42000", 403, "denied"),
        (1370, "42000", 403, "denied"),
        (3024, "HY000", 504, "timed_out"),
        (1064, "42000", 400, "syntax"),
        (1146, "42S02", 400, "statement"),
        (1054, "42S22", 400, "statement"),
        (1406, "22001", 400, "statement"),
        (1690, "22003", 400, "statement"),
    ],
)
def test_mysqls_word_keeps_its_errno_and_gets_a_status_by_what_the_caller_can_do(
    errno: int, sqlstate: str, status: int, kind: str
) -> None:
    error = errors.rejected(errno, sqlstate, "what MySQL said")
    assert (error.status, error.kind, error.errno, error.sqlstate) == (status, kind, errno, sqlstate)
    assert error.committed is False
    assert error.message.startswith("what MySQL said")
    assert error.retry_after_s is None


@pytest.mark.parametrize(
    ("errno", "status", "kind"),
    [
        (1064, 400, "syntax"),
        (1065, 400, "refused"),
        (1235, 400, "refused"),
        (1305, 400, "refused"),
        (None, 400, "refused"),
        (1142, 403, "refused"),
        (1044, 403, "refused"),
        (1153, 413, "refused"),
        (1301, 413, "refused"),
    ],
)
def test_what_is_refused_before_it_runs_is_certainly_not_committed(errno: int | None, status: int, kind: str) -> None:
    error = errors.refused("the reason", errno, "42000")
    assert (error.status, error.kind, error.committed, error.message) == (status, kind, False, "the reason")


def test_who_may_try_again_is_told_when_and_who_may_not_is_told_to_look_first() -> None:
    certain, unsure = errors.unavailable("no quorum", False), errors.unavailable("no answer", "unknown")
    assert (certain.status, unsure.status) == (503, 503)
    assert (certain.retry_after_s, unsure.retry_after_s) == (1, 1)
    assert (certain.committed, unsure.committed) == (False, "unknown")
    assert "can be sent again" in certain.message
    assert "look before you repeat it" in unsure.message
    assert "again" not in unsure.message


def test_a_statement_that_took_too_long_is_told_what_to_do() -> None:
    assert errors.rejected(3024, "HY000", "time exceeded").hint == "make it smaller, or add an index"


def test_what_to_do_is_said_where_mysqls_message_says_only_what_is_wrong() -> None:
    told = errors.rejected(1062, "23000", "Duplicate entry").body()["error"]
    assert told == {
        "kind": "constraint",
        "errno": 1062,
        "sqlstate": "23000",
        "statement_index": None,
        "hint": "choose another key, or write INSERT … ON DUPLICATE KEY UPDATE",
    }
    assert errors.refused("with what to write instead", 1235, "42000").hint is None
    assert errors.unavailable("no quorum", "unknown").hint == errors.LOOK
    assert errors.unavailable("no quorum", False).hint == errors.REPEAT
