"""Ending other connections of an account, over one of its own: that needs no privilege."""

import asyncio

from adapters.mysql_session import ConnectionBroken, MySQLSession, ServerError

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
