"""A full copy of another node's data, by MySQL's clone plugin (manual: "Cloning Remote Data"), over a connection of its own.

The account may do this and nothing else, so that no user's text ever runs with such rights. The connection is opened by a fence
and by nothing else, and every fence ends the others' connections of this account under the lock of the meta row: a
coordinator that was frozen before it sent the command finds its connection gone, and wipes nobody. (The plugin begins by dropping
all data, and waits for that lock; a copy that has begun before is ended with its connection.)
"""

from collections.abc import Mapping

from adapters import node_sql
from adapters.mysql_session import MySQLSession, ServerError
from adapters.other_sessions import end_all_others

ACCOUNT = "cloner"
NOT_SUPERVISED_ERRNO = 3707
"""The copy is complete, and the server has ended because nobody would restart it from within: whoever started it does."""


class NodeCopier:
    """The copier's connection to one node."""

    def __init__(
        self,
        host: str,
        port: int,
        password: str,
        donors: Mapping[str, tuple[str, int]],
        *,
        connect_timeout_s: float,
        timeout_s: float,
    ) -> None:
        """`donors`: name -> address of every node. `timeout_s` bounds a whole copy."""
        self._session = MySQLSession(host, port, ACCOUNT, password, setup=[], connect_timeout_s=connect_timeout_s)
        self._password = password
        self._donors = donors
        self._timeout_s = timeout_s

    async def open(self) -> None:
        if not self._session.is_open:
            await self._session.open()

    def close(self) -> None:
        self._session.close()

    async def end_others(self, timeout_s: float) -> None:
        """Returns when no other connection of the account is left. Raises ConnectionBroken, ServerError."""
        await end_all_others(self._session, ACCOUNT, timeout_s, "a copy under way does not end")

    async def copy(self, donor: str) -> None:
        """Returns when all data is here and the server restarts. Raises ConnectionBroken, ServerError."""
        host, port = self._donors[donor]
        async with self._session.lock:
            await self.end_others(self._timeout_s)
            try:
                await self._session.run(
                    [node_sql.allow_donor(host, port), node_sql.clone(host, port, self._password)], self._timeout_s
                )
            except ServerError as error:
                if error.errno != NOT_SUPERVISED_ERRNO:
                    raise
            self._session.close()
