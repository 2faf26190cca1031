"""What a storm was and what came of it, for people."""

from collections import Counter

from tests.chaos.invariants import Evidence
from tests.chaos.plan import failpoints

SHOWN = 20
"""Of what breaks one invariant; the rest is counted."""


def report(found: Evidence, broken: dict[str, list[str]], seconds: float) -> str:
    """Kills, faults, what went through, and each invariant: held, or what breaks it."""
    storm, log = found.storm, found.storm.log
    ledger, mail, sales = storm.load.ledger, storm.mail, storm.sales
    copies = sum(times - 1 for times in mail.accepted.values())
    struck: Counter[str] = Counter()
    for place, times in log.struck.items():
        struck[place.partition(" in ")[0]] += times
    by_service = log.killed.copy()
    for place, times in log.struck.items():
        by_service[place.partition(" in ")[2]] += times
    never = sorted({name for _, name in failpoints()} - struck.keys())
    lines = [
        f"seed {storm.seed}: {log.kills} kills in {seconds / 60:.1f} minutes",
        f"  by service     {_counted(by_service)}",
        f"  at random      {log.killed.total()}",
        f"  at failpoints  {log.struck.total()}: {_counted(struck)}",
        *([f"  never there    {', '.join(never)}"] if never else []),
        f"  faults         {_counted(log.faults)}",
        f"  ended alone    {_counted(log.exits) or 'none'}",
        f"events           {len(ledger.accepted)} acknowledged of {len(ledger.sent)} sent, {len(storm.load.refused)} bad ones",
        f"mails            {mail.accepted.total()} accepted, {copies} of them copies by `retry`",
        f"in doubt         {sum(row['status'] == 'in_doubt' for row in found.deliveries)}",
        f"webhooks         {sum(map(len, sales.received.values()))} for {len(sales.received)} hand-offs",
        f"readers who left {len(storm.load.left)}",
        f"restarted within {log.slowest_restart:.2f} s; largest process {log.largest_process} MiB, {log.most_files} files",
        "",
    ]
    for name, what in broken.items():
        lines.append(f"{'HELD  ' if not what else 'BROKEN'}  {name.replace('_', ' ')}")
        lines += [f"          {each}" for each in what[:SHOWN]]
        lines += [f"          and {len(what) - SHOWN} more"] if len(what) > SHOWN else []
    return "\n".join(lines)


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {times}" for name, times in sorted(counts.items()))
