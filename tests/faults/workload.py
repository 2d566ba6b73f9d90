"""What the clients do while faults strike, chosen so that a wrong cluster must show it in what it answers.

Lists are the sharpest tool (Kingsbury & Alvaro, Elle, VLDB 2020): an element that is appended once ever names its writer, and a
list that is read shows the order of all writes before it. Appends go to one to four lists in one statement, so a write that is
applied by half shows; reads look at one to four lists, so a read between two writes shows. Beside them compare-and-set on
registers (an update that is lost or applied twice) and transfers between accounts (the sum never changes), in which users
would meet the same faults. All of these are single statements; and reads, appends and transfers are also sent together as one
atomic batch (transactions.py), which reads its own appends.

A list or register that has had its share of operations is given up for a new one: long lists are slow to read and to check,
and short ones see few concurrent clients. One round uses rows of its own (`RoundKeys`), so that a run of hours is checked
round by round and never holds more than one round in memory.

What an answer means is decided in `outcome_of`, and the hard case is there: *unknown* is everything that is not surely known.
Only a request that was never sent (the connection could not be opened) is known not to have happened without an answer.
"""

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import Any

from history import (
    Append,
    Balances,
    CompareAndSet,
    History,
    MicroOperation,
    Operation,
    Outcome,
    Read,
    RegisterRead,
    Transfer,
)
from recording_client import Connection
from transactions import answers_of, batch_of, oddity_of

CLIENT_TIMEOUT_S = 15.0
"""More than the coordinator holds a request: what comes later is given up, and may still happen."""
REFUSED_PAUSE_S = 0.1
LISTS_ACTIVE, REGISTERS_ACTIVE, ACCOUNTS = 8, 3, 6
APPENDS_A_LIST_MIN, APPENDS_A_LIST_MAX = 16, 128
OPERATIONS_A_REGISTER_MAX = 40
LISTS_A_ROUND, REGISTERS_A_ROUND = 1_500, 1_500
BALANCE = 100
ROWS_A_STATEMENT = 250
BATCHES, MIXED, TRANSFERS = 0.4, 0.6, 0.3
"""Shares: of operations on several lists that are sent as a batch, of those with both reads and writes, and a transfer."""


@dataclass(frozen=True)
class RoundKeys:
    """The ids of one round's rows. No two rounds share any."""

    lists: range
    registers: range
    accounts: range

    @classmethod
    def of_round(cls, number: int) -> "RoundKeys":
        lists, registers, accounts = number * LISTS_A_ROUND, number * REGISTERS_A_ROUND, number * ACCOUNTS
        return cls(
            range(lists, lists + LISTS_A_ROUND),
            range(registers, registers + REGISTERS_A_ROUND),
            range(accounts, accounts + ACCOUNTS),
        )

    def statements_that_make_them(self) -> list[str]:
        statements = []
        for table, columns, ids, value in (
            ("lists", "id, elements", self.lists, "''"),
            ("registers", "id, value", self.registers, "0"),
            ("accounts", "id, balance", self.accounts, str(BALANCE)),
        ):
            for first in range(0, len(ids), ROWS_A_STATEMENT):
                rows = ", ".join(f"({key}, {value})" for key in ids[first : first + ROWS_A_STATEMENT])
                statements.append(f"INSERT INTO {table} ({columns}) VALUES {rows}")
        return statements

    def statements_that_remove_them(self) -> list[str]:
        return [
            f"DELETE FROM {table} WHERE id >= {ids[0]} AND id <= {ids[-1]}"
            for table, ids in (("lists", self.lists), ("registers", self.registers), ("accounts", self.accounts))
        ]


def sql_of(micro_operations: tuple[MicroOperation, ...]) -> str:
    """One statement that does all of them; they are of one kind."""
    match micro_operations:
        case (Append(), *_):
            appends = {micro.key: micro.value for micro in micro_operations if isinstance(micro, Append)}
            cases = " ".join(f"WHEN {key} THEN ',{value}'" for key, value in appends.items())
            chosen = f"elements = CONCAT(elements, CASE id {cases} END) WHERE id IN ({', '.join(appends)})"
            return f"UPDATE lists SET {chosen}"
        case (Read(), *_):
            keys = [micro.key for micro in micro_operations if isinstance(micro, Read)]
            return f"SELECT id, elements FROM lists WHERE id IN ({', '.join(keys)})"
        case (CompareAndSet(key, expected, new),):
            return f"UPDATE registers SET value = {new} WHERE id = {key} AND value = {expected}"
        case (RegisterRead(key),):
            return f"SELECT id, value FROM registers WHERE id = {key}"
        case (Transfer(source, target, amount),):
            change = f"CASE id WHEN {source} THEN -{amount} WHEN {target} THEN {amount} END"
            return f"UPDATE accounts SET balance = balance + {change} WHERE id IN ({source}, {target})"
    raise ValueError(f"no statement does {micro_operations}")


def sql_of_balances(accounts: range) -> str:
    return f"SELECT id, balance FROM accounts WHERE id >= {accounts[0]} AND id <= {accounts[-1]}"


def elements_of(text: str) -> tuple[int, ...]:
    return tuple(int(element) for element in text.split(",")[1:])


def outcome_of(status: int, body: dict[str, Any], *, was_sent: bool) -> Outcome:
    if status == 200:
        return Outcome.OK
    if not was_sent or body.get("committed", "unknown") is False:
        return Outcome.FAIL
    return Outcome.INFO


def rows_expected(micro_operations: tuple[MicroOperation, ...]) -> tuple[int, ...]:
    """What `rows_affected` of an acknowledged write can be."""
    match micro_operations:
        case (CompareAndSet(),):
            return (0, 1)
        case (Transfer(),):
            return (2,)
    return (len(micro_operations),)


def with_answer(micro: MicroOperation, body: dict[str, Any]) -> MicroOperation:
    """The micro-operation, and what it was answered."""
    match micro:
        case Read(key):
            texts = {str(row["id"]): row["elements"] for row in body["data"]}
            return Read(key, elements_of(texts.get(key, "")))
        case CompareAndSet(key, expected, new):
            return CompareAndSet(key, expected, new, changed=body["rows_affected"] == 1)
        case RegisterRead(key):
            (row,) = body["data"]
            return RegisterRead(key, row["value"])
        case Balances():
            return Balances({str(row["id"]): row["balance"] for row in body["data"]})
    return micro


class Client(Connection):
    """A connection that knows whether a request can be sent at all."""

    async def can_send(self) -> bool:
        if self._streams is None:
            try:
                async with asyncio.timeout(CLIENT_TIMEOUT_S):
                    self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            except (OSError, TimeoutError):
                return False
        return True


@dataclass
class Workload:
    """Clients that do seeded work until told to stop; `history` is what they saw.

    `oddities` are answers that no history can express, such as a write of two rows that affected one."""

    port: int
    keys: RoundKeys
    seed: str
    clients: int = 16
    pause_s: float = 0.02
    history: History = field(default_factory=History)
    oddities: list[str] = field(default_factory=list)
    acknowledged: int = 0
    """Writes, up to now."""

    def __post_init__(self) -> None:
        self._stopped = False
        self._processes = 0
        self._values = 0
        self._lists_used, self._registers_used = LISTS_ACTIVE, REGISTERS_ACTIVE
        self._lists = list(self.keys.lists[:LISTS_ACTIVE])
        self._registers = list(self.keys.registers[:REGISTERS_ACTIVE])
        chance = random.Random(self.seed)
        self._shares = {key: chance.randint(APPENDS_A_LIST_MIN, APPENDS_A_LIST_MAX) for key in self.keys.lists}
        self._uses: dict[int, int] = {}
        self._seen: dict[int, int] = {}
        self.history.initial_registers = {str(key): 0 for key in self.keys.registers}
        self.history.accounts_total = BALANCE * len(self.keys.accounts)

    async def run(self) -> History:
        await asyncio.gather(*(self._client(number) for number in range(self.clients)))
        return self.history

    def stop(self) -> None:
        self._stopped = True

    async def _client(self, number: int) -> None:
        chance = random.Random(f"{self.seed}-{number}")
        connection = Client(self.port)
        process = self._new_process()
        while not self._stopped:
            micro_operations = self._choose(chance)
            is_batch = len(micro_operations) > 1 and chance.random() < BATCHES
            if is_batch and chance.random() < MIXED:
                micro_operations = self._mixed(chance, micro_operations)
            outcome = await self._one(connection, process, micro_operations, is_batch=is_batch)
            if outcome is Outcome.INFO:
                process = self._new_process()
            pause_s = 2 * self.pause_s * chance.random() if outcome is Outcome.OK else REFUSED_PAUSE_S
            await asyncio.sleep(pause_s)  # the load's own pace
        connection.close()

    def _new_process(self) -> int:
        self._processes += 1
        return self._processes

    # --- what to do next

    def _choose(self, chance: random.Random) -> tuple[MicroOperation, ...]:
        match chance.choices(range(6), weights=(35, 35, 10, 5, 10, 5))[0]:
            case 0:
                keys = chance.sample(self._lists, chance.randint(1, 4))
                return tuple(Append(str(self._use_list(key)), self._new_value()) for key in keys)
            case 1:
                return tuple(Read(str(key), None) for key in chance.sample(self._lists, chance.randint(1, 4)))
            case 2:
                key = self._use_register(chance.choice(self._registers))
                return (CompareAndSet(str(key), self._seen.get(key, 0), self._new_value(), None),)
            case 3:
                return (RegisterRead(str(self._use_register(chance.choice(self._registers))), None),)
            case 4:
                source, target = chance.sample(self.keys.accounts, 2)
                return (Transfer(str(source), str(target), chance.randint(1, 5)),)
        return (Balances(None),)

    def _mixed(self, chance: random.Random, others: tuple[MicroOperation, ...]) -> tuple[MicroOperation, ...]:
        """`others`, which are reads or appends, among appends, reads of the same lists, and a transfer."""
        keys = [micro.key for micro in others if isinstance(micro, Read | Append)]
        mixed: list[MicroOperation] = [*others, Read(chance.choice(keys), None)]
        appended = chance.sample(self._lists, chance.randint(1, 2))
        mixed += [Append(str(self._use_list(key)), self._new_value()) for key in appended]
        if chance.random() < TRANSFERS:
            source, target = chance.sample(self.keys.accounts, 2)
            mixed.append(Transfer(str(source), str(target), chance.randint(1, 5)))
        chance.shuffle(mixed)
        return tuple(mixed)

    def _new_value(self) -> int:
        self._values += 1
        return self._values

    def _use_list(self, key: int) -> int:
        self._uses[key] = self._uses.get(key, 0) + 1
        if self._uses[key] >= self._shares[key] and key in self._lists:
            self._lists[self._lists.index(key)] = self.keys.lists[self._lists_used]
            self._lists_used += 1
        return key

    def _use_register(self, key: int) -> int:
        # registers and lists have ids of the same numbers: a register's count is kept under the negative one
        self._uses[~key] = self._uses.get(~key, 0) + 1
        if self._uses[~key] >= OPERATIONS_A_REGISTER_MAX and key in self._registers:
            self._registers[self._registers.index(key)] = self.keys.registers[self._registers_used]
            self._registers_used += 1
        return key

    # --- doing it

    async def _one(
        self, client: Client, process: int, micro_operations: tuple[MicroOperation, ...], *, is_batch: bool = False
    ) -> Outcome:
        asked = batch_of(micro_operations) if is_batch else {"query": self._sql_of(micro_operations)}
        invoked_ns = time.monotonic_ns()
        was_sent = await client.can_send()
        status, body = await client.post(asked, CLIENT_TIMEOUT_S) if was_sent else (0, {})
        returned_ns = time.monotonic_ns()
        outcome = outcome_of(status, body, was_sent=was_sent)
        if outcome is Outcome.OK:
            self.acknowledged += "timestamp" in body
            self._look_at(micro_operations, body, is_batch=is_batch)
            answers = answers_of(micro_operations, body) if is_batch else [body] * len(micro_operations)
            pairs = zip(micro_operations, answers, strict=True)
            micro_operations = tuple(with_answer(micro, answer) for micro, answer in pairs)
            self._learn(micro_operations)
        self.history.operations.append(
            Operation(
                process,
                invoked_ns,
                None if was_sent and status == 0 else returned_ns,
                outcome,
                micro_operations,
                body.get("timestamp", body.get("applied_timestamp")),
                body.get("executed_on", ""),
            )
        )
        return outcome

    def _sql_of(self, micro_operations: tuple[MicroOperation, ...]) -> str:
        is_balances = isinstance(micro_operations[0], Balances)
        return sql_of_balances(self.keys.accounts) if is_balances else sql_of(micro_operations)

    def _look_at(self, micro_operations: tuple[MicroOperation, ...], body: dict[str, Any], *, is_batch: bool) -> None:
        if is_batch:
            oddity = oddity_of(micro_operations, body)
            self.oddities += [oddity] if oddity else []
        elif "timestamp" in body and body["rows_affected"] not in rows_expected(micro_operations):
            self.oddities.append(f"{self._sql_of(micro_operations)} affected {body['rows_affected']} rows")

    def _learn(self, micro_operations: tuple[MicroOperation, ...]) -> None:
        match micro_operations:
            case (CompareAndSet(key, _, new, True),):
                self._seen[int(key)] = new
            case (RegisterRead(key, int(value)),):
                self._seen[int(key)] = value

    async def read_everything(self) -> None:
        """The last look, when nothing is under way any more: every list, register and the accounts. All must answer."""
        client = Client(self.port)
        used = self.keys.lists[: self._lists_used]
        for first in range(0, len(used), ROWS_A_STATEMENT):
            keys = used[first : first + ROWS_A_STATEMENT]
            reads = tuple(Read(str(key), None) for key in keys)
            assert await self._one(client, self._new_process(), reads) is Outcome.OK, "the last read was refused"
            for read in self.history.operations.pop().micro_operations:
                assert isinstance(read, Read)
                self.history.final_reads[read.key] = read.values or ()
        quiet: list[tuple[MicroOperation, ...]] = [
            (RegisterRead(str(key), None),) for key in self.keys.registers[: self._registers_used]
        ]
        for micro_operations in [*quiet, (Balances(None),)]:
            assert await self._one(client, self._new_process(), micro_operations) is Outcome.OK, (
                "a last read was refused"
            )
        client.close()
