"""Ending other connections of an account, over one of its own: that needs no privilege."""

import asyncio
import logging

from adapters.mysql_session import ConnectionBroken, MySQLSession, ServerError

log = logging.getLogger("coordinator")

NO_SUCH_THREAD_ERRNO = 1094


async def end_others(session: MySQLSession, account: str, ours: list[int | None], timeout_s: float) -> bool:
    """End every connection of `session`'s account but ours; False: there was none."""
    results = await session.run(["SHOW PROCESSLIST"], timeout_s)
    others = [thread[0] for thread in results[0].rows if thread[0] not in ours and thread[1] == account]
    for thread in others:
        try:
            await session.run([f"KILL {thread}"], timeout_s)
        except ServerError as error:
            if error.errno != NO_SUCH_THREAD_ERRNO:
                raise
    return bool(others)


async def end_all_others(session: MySQLSession, account: str, timeout_s: float, complaint: str) -> None:
    """Returns when no other connection of the account is left. Raises ConnectionBroken, ServerError."""
    give_up_at = asyncio.get_running_loop().time() + timeout_s
    while await end_others(session, account, [session.thread_id], timeout_s):
        if asyncio.get_running_loop().time() > give_up_at:
            raise ConnectionBroken(complaint, sent=False)
        await asyncio.sleep(0.005)  # an ended connection is gone when its thread is: asked again


class StatementEnder:
    """Ends statements whose answers nobody waits for any more. A server goes on with one though its client is gone.

    Hard case: the server was replaced meanwhile, and the number is another connection's. It is one of the same account's, so at
    worst a read is begun anew.
    """

    def __init__(self, session: MySQLSession, timeout_s: float) -> None:
        """`session`: nobody else uses it."""
        self._session = session
        self._timeout_s = timeout_s
        self._threads: list[int] = []
        self._work: asyncio.Task[None] | None = None

    def end(self, thread_id: int | None) -> None:
        """Soon, and without an answer. None: it was not begun."""
        if thread_id is not None:
            self._threads.append(thread_id)
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._end_all())

    async def _end_all(self) -> None:
        while self._threads:
            thread = self._threads.pop()
            try:
                if not self._session.is_open:
                    await self._session.open()
                await self._session.run([f"KILL {thread}"], self._timeout_s)
            except ServerError as error:
                if error.errno != NO_SUCH_THREAD_ERRNO:
                    log.warning("a statement that nobody waits for goes on to its time limit: %s", error)
            except ConnectionBroken as broken:
                # the server that does not answer does not work on them either, or ends them at their time limit
                log.info("statements that nobody waits for are left to their time limit: %s", broken)
                self._threads.clear()

    def close(self) -> None:
        if self._work is not None:
            self._work.cancel()
        self._session.close()
