"""The results as one text in markdown: goals first, then what they rest on. Medians over the rounds; in brackets least to most.

Hard case: what is missing. A cell that was not measured is empty and a note says why; it is never a zero.
"""

from collections.abc import Iterable, Sequence

from bench_goals import Goal, goals, slow_ratios
from results import HEALTHY, WORK_TITLES, Results, Spread, Summary, in_order, summaries

LATENCIES = (
    "Latencies of all systems are corrected for coordinated omission by wrk's rule. CPU is of all processes of the system until "
    "it is calm again, and of it the coordinator's; the load generator's stands beside it and is in none of the others."
)
SLOW = (
    "A frozen server leaves its share of the cores to the others, so that more than 1 x is possible here. The 50 ms are between "
    "one replica and whoever feeds it: the coordinator here, the source of semisync; in the other two no proxy can stand."
)


def markdown(results: Results) -> str:
    sections = [_about(results), _goals(goals(results)), _loads(results), _slow(results), _failover(results)]
    sections += [_growth(results), _idle(results), _notes(results)]
    return "\n\n".join(section for section in sections if section) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _about(results: Results) -> str:
    lines = [
        f"- {part}: {about['began']}, commit {about['commit']}, {about['machine']}; {about['plan']}"
        for part, about in results.parts.items()
    ]
    measured = {row.system for rows in (results.load, results.slow, results.failover) for row in rows}
    systems = [
        f"- **{about['title']}** ({about['version']}): {about['promise']}."
        for system, about in results.systems.items()
        if system in measured
    ]
    return "\n".join(["## What was measured", "", *lines, "", *systems])


def _goals(found: Sequence[Goal]) -> str:
    said = {True: "reached", False: "**not reached**", None: "not measured"}
    rows = [
        (
            goal.text,
            f"{goal.relation} {goal.bound:g} {goal.unit}",
            "" if goal.value is None else f"{goal.value:.2f} {goal.unit}",
            said[goal.is_reached],
        )
        for goal in found
    ]
    return "## Goals\n\n" + table(("what", "goal", "measured", ""), rows)


def _loads(results: Results) -> str:
    if not results.load:
        return ""
    found = summaries(results.load)
    systems = in_order(row.system for row in results.load)
    # the rounds begin with different systems: the order is that of the first round
    clients = sorted({row.clients for row in results.load})
    sections = ["## Work, by clients", LATENCIES]
    for work in (work for work in WORK_TITLES if any(row.work == work for row in results.load)):
        rates: list[tuple[str, ...]] = []
        times: list[tuple[str, ...]] = []
        for system in systems:
            own = [found.get((system, work, number, HEALTHY)) for number in clients]
            if not any(own):
                continue
            title = results.title(system)
            rates.append((title, *("" if each is None else _spread(each.per_second) for each in own)))
            times.extend(
                _detail(title, number, each) for number, each in zip(clients, own, strict=True) if each is not None
            )
        head = ("per second, by clients", *map(str, clients))
        detail = (
            "",
            "clients",
            "p50 ms",
            "p99 ms",
            "CPU ms",
            "of it coordinator",
            "load's CPU ms",
            "written",
            "errors",
        )
        sections += [f"### {WORK_TITLES[work]}", table(head, rates), table(detail, times)]
    return "\n\n".join(sections)


def _spread(spread: Spread) -> str:
    return f"{spread.median:,.0f} ({spread.least:,.0f} to {spread.most:,.0f})"


def _detail(title: str, clients: int, summary: Summary) -> tuple[str, ...]:
    coordinator = summary.cpu_ms.get("coordinator")
    return (
        title,
        str(clients),
        f"{summary.p50_ms.median:.2f}",
        f"{summary.p99_ms.median:.2f}",
        f"{summary.cpu_ms_in_all:.3f}",
        "" if coordinator is None else f"{coordinator:.3f}",
        f"{summary.generator_cpu_ms:.3f}",
        f"{summary.written_bytes / 1024:.1f} KB",
        str(summary.errors) if summary.errors else "",
    )


def _slow(results: Results) -> str:
    if not results.slow:
        return ""
    found = summaries(results.slow)
    work, clients = results.slow[0].work, results.slow[0].clients
    rows = []
    for system in in_order(row.system for row in results.slow):
        kept = slow_ratios(results, system)
        for condition in (HEALTHY, *kept):
            summary = found.get((system, work, clients, condition))
            if summary is None:
                continue
            left = kept.get(condition)
            rows.append(
                (
                    results.title(system),
                    condition,
                    _spread(summary.per_second),
                    "" if left is None else f"{left:.2f} x",
                    f"{summary.p50_ms.median:.2f}",
                    f"{summary.p99_ms.median:.2f}",
                    str(summary.errors) if summary.errors else "",
                )
            )
    head = ("", "one replica", "per second", "of its own while all is well", "p50 ms", "p99 ms", "errors")
    return f"## One replica slow: {WORK_TITLES[work]}, {clients} clients\n\n{SLOW}\n\n" + table(head, rows)


def _failover(results: Results) -> str:
    if not results.failover:
        return ""
    rows = []
    for system in in_order(row.system for row in results.failover):
        for fault in in_order(row.fault for row in results.failover):
            runs = [row.seconds for row in results.failover if (row.system, row.fault) == (system, fault)]
            times = [seconds for seconds in runs if seconds is not None]
            spread = Spread.of(times) if times else None
            found = "" if spread is None else f"{spread.median:.2f} s ({spread.least:.2f} to {spread.most:.2f})"
            never = len(runs) - len(times)
            rows.append((results.title(system), fault, str(len(runs)), found, str(never) if never else ""))
    head = ("", "fault of the server that takes the writes", "runs", "to the next acknowledged write", "never")
    return "## Failover\n\n" + table(head, rows)


def _growth(results: Results) -> str:
    if not results.growth:
        return ""
    rows = [
        (
            f"{each.writes_so_far:,}",
            f"{each.per_second:,.0f}",
            f"{each.coordinator_rss_mb:.0f}",
            f"{max(each.log_payload_mb.values()):.0f}",
            f"{max(each.log_file_mb.values()):.0f}",
        )
        for each in results.growth
    ]
    head = ("writes so far", "per second", "coordinator, MB", "log kept, largest node, MB", "its file, MB")
    return "## Growth: single-row INSERT, 64 clients\n\n" + table(head, rows)


def _idle(results: Results) -> str:
    if not results.idle:
        return ""
    idle = results.idle[-1]
    rows = [(name, f"{percent:.1f} %") for name, percent in idle.services.items()]
    rows += [
        ("all services", f"{sum(idle.services.values()):.1f} %"),
        ("four servers in the cluster", f"{idle.servers:.1f} %"),
        ("four servers alone", f"{idle.bare_servers:.1f} %"),
    ]
    return f"## Idle for {idle.seconds:.0f} s\n\n" + table(("", "of one core"), rows)


def _notes(results: Results) -> str:
    lines = [f"- {part}: {text}" for part, texts in results.notes.items() for text in texts]
    return "\n".join(["## Notes", "", *lines]) if lines else ""
