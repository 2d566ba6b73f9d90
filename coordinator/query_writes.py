"""The writes of a request: judged by the schema, sent once where a key says so, answered truthfully if they are cut off.

A write that rests on the schema is judged by the catalogue at hand, and sent with that catalogue's version. If the schema changed
before its turn came, it comes back as stale, unexecuted, and is judged anew. Schema changes go one after the other, so
that each is judged by what the one before it left.
"""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import errors
import msgspec
from driver import Driver, WriteAnswer
from exactly_once import DUPLICATE_ERRNO, ExactlyOnce, First, claim, digest_of
from long_work import in_steps
from made_values import random_seed, with_values
from query_answers import failed, refused

from adapters.schema_reader import SchemaReader, SchemaUnknown
from replication.effects import Acknowledge, Fail, Refuse, Stale
from replication.values import RequestStatement
from statements.query_parser import Kind, Refused, Statement
from statements.schema_judge import judge_in_steps
from statements.schema_merging import may_merge
from statements.sql_checks import UNSUPPORTED


class QueryWrites:
    """Judges and sends."""

    def __init__(self, driver: Driver, schema: SchemaReader, once: ExactlyOnce, deadline_ns: int) -> None:
        self._driver = driver
        self._schema = schema
        self._schema_changes = asyncio.Lock()
        self._once = once
        self._deadline_ns = deadline_ns

    async def judge(self, statements: list[Statement], deadline_ns: int) -> int:
        """The version of the schema that the statements were found exact by; 0 if they rest on none. Raises QueryError."""
        try:
            catalogue = self._schema.at_hand() or await self._schema.catalogue(deadline_ns)
        except SchemaUnknown as unknown:
            raise errors.unavailable(str(unknown), False) from unknown
        for index, statement in enumerate(statements):
            if statement.rests_on_schema:
                try:
                    await in_steps(judge_in_steps(statement, catalogue))
                except Refused as refusal:
                    error = refused(refusal)
                    error.statement_index = index if len(statements) > 1 else None
                    raise error from refusal
        return catalogue.version

    def write(
        self, statements: list[Statement], expected: list[int | None], key: str | None, *, is_batch: bool
    ) -> Coroutine[Any, Any, Acknowledge | Refuse | First]:
        """As one request: all of it or nothing. With a key: once. Raises QueryError."""
        if key is None:
            return self._send(statements, expected, ())
        return self._send_once(statements, expected, key, is_batch=is_batch)

    async def _send_once(
        self, statements: list[Statement], expected: list[int | None], key: str, *, is_batch: bool
    ) -> Acknowledge | Refuse | First:
        if statements[0].kind is Kind.SCHEMA_CHANGE:
            reason = "a schema change takes no Idempotency-Key: write CREATE TABLE IF NOT EXISTS, DROP TABLE IF EXISTS"
            raise refused(Refused(reason, UNSUPPORTED))
        parts = [(each.text, count) for each, count in zip(statements, expected, strict=True)]
        digest = digest_of(parts, is_batch=is_batch)
        with self._once.under_way(key):
            answer = await self._send(statements, expected, (claim(key, digest),))
            if isinstance(answer, Acknowledge):
                return msgspec.structs.replace(answer, results=answer.results[1:])
            error = answer.error
            if error.statement > 0:
                told = msgspec.structs.replace(error, statement=error.statement - 1)
                return msgspec.structs.replace(answer, error=told)
            return await self._once.first(key, digest) if error.errno == DUPLICATE_ERRNO else answer

    async def _send(
        self, statements: list[Statement], expected: list[int | None], before: tuple[RequestStatement, ...]
    ) -> Acknowledge | Refuse:
        """`before`: of our own, in front of the client's. Raises QueryError where the cluster could not do it."""
        deadline_ns = time.monotonic_ns() + self._deadline_ns
        try:
            if statements[0].kind is Kind.SCHEMA_CHANGE:
                answer = await self._change_schema(statements, deadline_ns)
            else:
                request, row_schema = self._request(statements, expected, before, deadline_ns)
                while True:
                    version = await self.judge(statements, deadline_ns) if rest_on_schema(statements) else 0
                    answer = await self._driver.write(request, version, row_schema)
                    if not isinstance(answer, Stale):
                        break
                    if time.monotonic_ns() > deadline_ns:
                        raise errors.unavailable("the schema changes all the time", False)
        except asyncio.CancelledError as stopped:
            # it may be in the log already, and then it will be made
            raise errors.cut_off("unknown") from stopped
        if isinstance(answer, Fail):
            raise failed(answer)
        assert not isinstance(answer, Stale)
        return answer

    async def _change_schema(self, statements: list[Statement], deadline_ns: int) -> WriteAnswer:
        async with self._schema_changes:
            if rest_on_schema(statements):
                await self.judge(statements, time.monotonic_ns() + self._deadline_ns)
            return await self._driver.change_schema(statements[0].text)

    def _request(
        self,
        statements: list[Statement],
        expected: list[int | None],
        before: tuple[RequestStatement, ...],
        deadline_ns: int,
    ) -> tuple[tuple[RequestStatement, ...], int]:
        """What is sent, and by which version of the schema rows may be merged in it."""
        parts, row_schema = list(before), 0
        for statement, expected_rows in zip(statements, expected, strict=True):
            row_at, version = self._row_at(statement, deadline_ns)
            row_schema = version or row_schema
            text = with_values(statement.text, statement.splices)
            seed = random_seed() if statement.uses_random else 0
            is_read = statement.kind is Kind.READ
            parts.append(RequestStatement(text, statement.inserts, seed, row_at, is_read, expected_rows))
        return tuple(parts), row_schema

    def _row_at(self, statement: Statement, deadline_ns: int) -> tuple[int, int]:
        """Where the row begins by which it may be executed together with its like, and by which version of the schema; (0, 0):
        it may not, or the schema is not at hand, and nobody waits for it."""
        if statement.plain is None:
            return 0, 0
        catalogue = self._schema.at_hand_or_soon(deadline_ns)
        if catalogue is None or not may_merge(statement.plain, catalogue):
            return 0, 0
        return statement.row_at, catalogue.version


def rest_on_schema(statements: list[Statement]) -> bool:
    return any(statement.rests_on_schema for statement in statements)
