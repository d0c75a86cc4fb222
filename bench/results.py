# SPDX-License-Identifier: Apache-2.0
"""What came out: medians, spread, ratios, and how they are printed."""

import statistics

#: Every measure of a sample: its unit and what it is called in a table. A sample has those that are
#: known of it.
MEASURES = {
    "total_ms": ("ms", "whole command"),
    "inside_ms": ("ms", "time inside"),
    "downtime_ms": ("ms", "downtime"),
    "worst_gap_ms": ("ms", "longest silence"),
    "wire_mib": ("MiB", "on the wire"),
    "cpu_s": ("s", "CPU, both hosts"),
    "daemon_cpu_s": ("s", "CPU of the daemons"),
    "daemon_mib": ("MiB", "daemon's peak memory"),
    "resumed_ms": ("ms", "data flows again"),
    "resent": ("blocks", "sent again"),
    "sent_twice": ("blocks", "sent twice"),
    "qemu_errors": ("", "errors of QEMU"),
    "work_per_s": ("/s", "guest's work"),
    "work_share": ("", "guest's work, of what it was before"),
    "work_lost_ms": ("ms", "guest's work lost"),
}


def heading(measure):
    """What it is called, and its unit if it has one."""
    unit, title = MEASURES[measure]
    return f"{title}, {unit}" if unit else title


def rounded(value):
    """Four digits are more than any of this is worth; small numbers keep theirs."""
    if value is None:
        return None
    return round(value, 1) if abs(value) >= 100 else round(value, 3)


def digest(samples):
    """One contender's medians, all samples by measure, and how many moves came to an end."""
    values = {m: [rounded(s.get(m)) for s in samples] for m in MEASURES}
    known = {m: [v for v in values[m] if v is not None] for m in MEASURES}
    return {"median": {m: rounded(statistics.median(v)) if v else None for m, v in known.items()},
            "samples": values,
            "moves": len(samples),
            "given_up": sum(s["outcome"] == "given up" for s in samples),
            "failed": sum(s["outcome"] == "failed" for s in samples),
            "errors": sorted({s["error"] for s in samples if s["error"]}),
            "verified": sum(s["verified"] for s in samples)}


CUT_SHOWN = ("total_ms", "resumed_ms", "sent_twice", "qemu_errors", "resent")
PHASES = ("plan_ms", "prepare_ms", "copy_ms", "handover_ms", "confirm_ms")


def phases(samples):
    """Medians of the phases that Mudanza's reports tell of, over the moves that completed."""
    reports = [s["report"] for s in samples if s["completed"]]
    return {phase: statistics.median(r[phase] for r in reports) for phase in PHASES} \
        if reports else {}


KINDS = ("zero", "repeated", "known", "delta", "compressed", "plain")


def stream(samples):
    """What the last completed move of Mudanza made of the guest's pages: how many of each kind."""
    found = [s["report"]["stream"] for s in samples if s["completed"] and s["report"].get("stream")]
    return {kind: found[-1][kind] for kind in KINDS} if found else {}


def spread(result, measure):
    """Median [smallest-largest] as text; "-" when there is nothing."""
    values = [v for v in result["samples"][measure] if v is not None]
    if not values:
        return "-"
    digits = 0 if max(values) >= 100 else 1 if max(values) >= 2 else 2
    return (f"{result['median'][measure]:.{digits}f} "
            f"[{min(values):.{digits}f}-{max(values):.{digits}f}]")


def troubles(result):
    """How many moves did not complete, in words; empty when all did."""
    parts = [f"{result[how]} of {result['moves']} {text}"
             for how, text in (("given_up", "given up"), ("failed", "failed")) if result[how]]
    return ", ".join(parts)


def ratio(own, peer, measure):
    """Median of one by median of the other; None when either has none or the peer's is 0."""
    ours, theirs = own["median"][measure], peer["median"][measure]
    return ours / theirs if ours is not None and theirs else None


def contenders(results):
    """The contenders of a case in results.json, Mudanza first."""
    return {name: entry for name, entry in results.items() if name != "about"}


def shown(results, usual):
    """What a table shows of a case: `usual`, or what a disturbed move is about."""
    return CUT_SHOWN if results["about"]["cut"] else usual


def table(name, results):
    """A case as lines for a terminal."""
    columns = shown(results, ("total_ms", "downtime_ms", "wire_mib", "cpu_s", "work_share"))
    lines = ["", f"{name}: {results['about']['title']}",
             " " * 22 + "".join(f"{heading(m)[-23:]:>24}" for m in columns)]
    own = results["mudanza"]
    for contender, result in contenders(results).items():
        cells = "".join(f"{spread(result, m):>24}" for m in columns)
        lines.append(f"  {contender:20}{cells}  {troubles(result)}".rstrip())
    for contender, result in contenders(results).items():
        if contender.startswith("mudanza") or result["failed"]:
            continue
        parts = [f"{MEASURES[m][1]} {r:.2f}" for m in ("total_ms", "downtime_ms", "wire_mib")
                 if (r := ratio(own, result, m)) is not None]
        lines.append(f"  mudanza / {contender}: {', '.join(parts)}")
    return "\n".join(lines)
