"""How each fault of the schedule is done to a real cluster, and undone. Blocking: call it from a thread beside the load.

Every fault resolves its roles when it strikes, and is undone on the same processes, whoever is master by then.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import fault_schedule
from fault_cluster import FaultCluster, new_data_folder
from fault_schedule import Fault

STARTED_TOGETHER = 3


@dataclass(frozen=True)
class Struck:
    """A fault that is in effect, and the names of those it struck, in the order in which they are to come back."""

    fault: Fault
    names: tuple[str, ...]

    def __str__(self) -> str:
        named = [
            name if role == name else f"{role} = {name}"
            for role, name in zip(self.fault.targets, self.names, strict=True)
        ]
        return f"{self.fault} ({', '.join(named)})"


Action = Callable[[FaultCluster, Struck], None]


def _kill(cluster: FaultCluster, struck: Struck) -> None:
    cluster.handle.kill(*struck.names)


def _stop(cluster: FaultCluster, struck: Struck) -> None:
    cluster.handle.stop(*struck.names)


def _start(cluster: FaultCluster, struck: Struck) -> None:
    """A few at a time: who comes back first is the seed's choice, and ten starts one by one would be most of a short test."""
    for first in range(0, len(struck.names), STARTED_TOGETHER):
        cluster.handle.start(*struck.names[first : first + STARTED_TOGETHER])


def _freeze(cluster: FaultCluster, struck: Struck) -> None:
    cluster.handle.freeze(*struck.names)


def _thaw(cluster: FaultCluster, struck: Struck) -> None:
    cluster.handle.thaw(*struck.names)


def _line_action(do: Callable[[FaultCluster, str, Fault], None]) -> Action:
    def action(cluster: FaultCluster, struck: Struck) -> None:
        for name in struck.names:
            do(cluster, name, struck.fault)

    return action


def _swizzle(cluster: FaultCluster, struck: Struck) -> None:
    """Links are cut one by one, and healed one by one in another order: FoundationDB found its deepest faults so."""
    for name in reversed(struck.names):
        cluster.lines.hold(name, to_node=True, from_node=True)
        time.sleep(struck.fault.seconds / len(struck.names) / 2)  # one link after the other


def _unswizzle(cluster: FaultCluster, struck: Struck) -> None:
    for name in struck.names:
        cluster.lines.heal(name)
        time.sleep(struck.fault.seconds / len(struck.names) / 2)  # one link after the other


def _fill(cluster: FaultCluster, struck: Struck) -> None:
    for name in struck.names:
        cluster.disks[name].fill()


def _give_space_back(cluster: FaultCluster, struck: Struck) -> None:
    """InnoDB ends itself where there is no space for its next redo log file, as long as it has not got all of them."""
    for name in struck.names:
        cluster.disks[name].give_space_back()
        if name not in cluster.running():
            cluster.handle.start(name)


def _lose_disk(cluster: FaultCluster, struck: Struck) -> None:
    cluster.handle.kill(*struck.names)
    for name in struck.names:
        cluster.disks[name].replace()
        new_data_folder(cluster.disks[name])


def _keep_copy(cluster: FaultCluster, struck: Struck) -> None:
    """Someone copies the node's disk, for a bad day. It goes on and promises more."""
    cluster.handle.freeze(*struck.names)
    for name in struck.names:
        cluster.disks[name].copy_as_power_left_it()
    cluster.handle.thaw(*struck.names)


def _restore_copy(cluster: FaultCluster, struck: Struck) -> None:
    cluster.handle.kill(*struck.names)
    for name in struck.names:
        if cluster.disks[name].has_copy:
            cluster.disks[name].power_returns()
    _start(cluster, struck)


def _start_second(cluster: FaultCluster, _: Struck) -> None:
    """It takes over; the first one serves no more, until it is started again."""
    cluster.start_second_coordinator()


def _restart_first(cluster: FaultCluster, struck: Struck) -> None:
    """Who starts takes over, so the second is left deposed for a moment, and then killed."""
    cluster.handle.kill(*struck.names)
    cluster.handle.start(*struck.names)
    cluster.end_second_coordinator()


def _cut_power(cluster: FaultCluster, struck: Struck) -> None:
    disks = [cluster.disks[name] for name in struck.names if name in cluster.disks]
    cluster.handle.freeze(*struck.names)
    for disk in disks:
        disk.copy_as_power_left_it()
    cluster.handle.kill(*struck.names)
    for disk in disks:
        disk.power_returns()


_ACTIONS: dict[str, tuple[Action, Action]] = {
    fault_schedule.KILL: (_kill, _start),
    fault_schedule.FREEZE: (_freeze, _thaw),
    fault_schedule.RESTART: (_stop, _start),
    fault_schedule.HOLD_TO: (
        _line_action(lambda cluster, name, _: cluster.lines.hold(name, to_node=True)),
        _line_action(lambda cluster, name, _: cluster.lines.heal(name)),
    ),
    fault_schedule.HOLD_FROM: (
        _line_action(lambda cluster, name, _: cluster.lines.hold(name, from_node=True)),
        _line_action(lambda cluster, name, _: cluster.lines.heal(name)),
    ),
    fault_schedule.HOLD_BOTH: (
        _line_action(lambda cluster, name, _: cluster.lines.hold(name, to_node=True, from_node=True)),
        _line_action(lambda cluster, name, _: cluster.lines.heal(name)),
    ),
    fault_schedule.RESET: (
        _line_action(lambda cluster, name, _: cluster.lines.cut(name)),
        _line_action(lambda cluster, name, _: cluster.lines.heal(name)),
    ),
    fault_schedule.DELAY: (
        _line_action(lambda cluster, name, fault: cluster.lines.delay(name, fault.delay_ms)),
        _line_action(lambda cluster, name, _: cluster.lines.heal(name)),
    ),
    fault_schedule.SWIZZLE: (_swizzle, _unswizzle),
    fault_schedule.FULL_DISK: (_fill, _give_space_back),
    fault_schedule.LOST_DISK: (_lose_disk, _start),
    fault_schedule.OLD_DISK: (_keep_copy, _restore_copy),
    fault_schedule.SECOND: (_start_second, _restart_first),
    fault_schedule.POWER_CUT: (_cut_power, _start),
}
"""Each fault's beginning and end. Undoing what has been undone already does no harm."""


def strike(cluster: FaultCluster, fault: Fault) -> Struck:
    cluster.status()
    struck = Struck(fault, tuple(cluster.name_of(role) for role in fault.targets))
    _ACTIONS[fault.name][0](cluster, struck)
    return struck


def undo(cluster: FaultCluster, struck: Struck) -> None:
    _ACTIONS[struck.fault.name][1](cluster, struck)
