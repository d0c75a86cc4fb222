# SPDX-License-Identifier: Apache-2.0
"""The report: a page without scripts or outside parts, and the plots in it as files."""

from html import escape

from . import results
from .plots import Plot

PLOTTED = ("total_ms", "downtime_ms", "wire_mib", "cpu_s")
CUT_PLOTTED = ("total_ms", "resumed_ms")
TABLED = tuple(results.MEASURES)
STYLE = """
body { font: 15px/1.5 sans-serif; color: #22303c; max-width: 1340px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.6em } h2 { margin-top: 2.2em; border-top: 1px solid #e3e6ea; padding-top: 1em }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(520px, 1fr)); gap: 1.2em 2em }
.plots svg { width: 100% }
table { border-collapse: collapse; font-size: 13px } th, td { padding: .25em .8em; text-align: right }
th:first-child, td:first-child { text-align: left } tr.own { background: #e8f3f8 }
thead th { border-bottom: 1px solid #b9bec6; vertical-align: bottom; font-weight: normal }
.about { color: #5b6670 } details { margin: .8em 0 } .over { overflow-x: auto }
"""


def plots(entry):
    """The plots of a case, by measure."""
    drawn = {}
    for measure in CUT_PLOTTED if entry["about"]["cut"] else PLOTTED:
        unit, title = results.MEASURES[measure]
        rows = []
        for name, result in results.contenders(entry).items():
            note = results.troubles(result) if measure in ("total_ms", "downtime_ms") else ""
            rows.append((name, result["median"][measure], result["samples"][measure], note))
        drawn[measure] = Plot(f"{title}, {unit}", unit, rows).svg()
    return drawn


def _ratios(entry):
    own, lines = entry["mudanza"], []
    for name, result in results.contenders(entry).items():
        if name.startswith("mudanza"):
            continue
        parts = [f"{results.MEASURES[m][1]} <b>{r:.2f}</b>"
                 for m in ("total_ms", "downtime_ms", "wire_mib", "cpu_s")
                 if (r := results.ratio(own, result, m)) is not None]
        if trouble := results.troubles(result):
            parts.append(f"{escape(name)}: {escape('; '.join([trouble, *result['errors']]))}")
        lines.append(f"<li>mudanza / {escape(name)}: {', '.join(parts)}</li>")
    return f"<ul>{''.join(lines)}</ul>"


def _table(entry):
    heads = "".join(f"<th>{escape(results.heading(m))}</th>" for m in TABLED)
    rows = []
    for name, result in results.contenders(entry).items():
        cells = "".join(f"<td>{escape(results.spread(result, m))}</td>" for m in TABLED)
        own = " class='own'" if name.startswith("mudanza") else ""
        rows.append(f"<tr{own}><td>{escape(name)}</td><td>{result['moves']}</td>"
                    f"<td>{result['verified']}</td>{cells}</tr>")
    return ("<div class='over'><table><thead><tr><th></th><th>moves</th><th>RAM compared</th>"
            f"{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>")


def _phases(about):
    parts = [f"{phase.removesuffix('_ms')} {ms:.0f}" for phase, ms in about["phases"].items()]
    pages = [f"{kind} {count}" for kind, count in about["pages"].items()]
    return (f"<p>Mudanza's phases, medians in ms: {', '.join(parts)}.</p>" if parts else "") + \
        (f"<p>Pages by what they travelled as, last move: {', '.join(pages)}.</p>" if pages else "")


def _case(name, entry):
    about = entry["about"]
    link = f"link limited to {about['link']}" if about["link"] else "link without a limit"
    goal = f" Goal: {escape(about['goal'])}." if about["goal"] else ""
    drawn = "".join(f"<div>{svg}</div>" for svg in plots(entry).values())
    return (f"<h2 id='{name}'>{escape(about['title'])} <small>({name})</small></h2>"
            f"<p>{escape(about['guest'])}; {link}.{goal}</p>{_ratios(entry)}{_phases(about)}"
            f"<div class='plots'>{drawn}</div>"
            f"<details open><summary>All measures, median [smallest-largest]</summary>"
            f"{_table(entry)}</details><p class='about'><code>{escape(about['command'])}</code>, "
            f"{about['date']}</p>")


def page(everything):
    """The whole page."""
    about = next(iter(everything.values()))["about"]
    versions, machine = about["versions"], about["machine"]
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Mudanza beside virsh migrate</title>
<style>{STYLE}</style></head><body>
<h1>Mudanza beside <code>virsh migrate --live</code></h1>
<p>Mudanza {escape(versions['mudanza'])} and libvirt {escape(versions['libvirt'])} move the same
guests with the same QEMU {escape(versions['qemu'])} (TCG), in turn, between two hosts that are
network namespaces of one machine: {escape(machine['processor'])}, {machine['cores']} cores, Linux
{escape(machine['kernel'])}. Bars end at the median, dots are single moves. Downtime is the silence
that a third host hears from the guest, which sends a packet each 2 ms. Bytes are those of the
hosts' interfaces, in both directions. CPU is that of all processes of both hosts, guests included.
The two guests of both systems are suspended while it is not their turn.</p>
<p><b>mudanza-verify</b> is the same move with <code>--verify</code>: all RAM of both sides is
compared while the guest stands still. It is the proof that what was moved is right, and it is
listed apart, because comparing costs downtime that no peer spends.</p>
{''.join(_case(name, entry) for name, entry in everything.items())}
</body></html>
"""


def write(everything, folder):
    """report.html and each plot as a file of its own."""
    (folder / "report.html").write_text(page(everything), encoding="utf-8")
    for name, entry in everything.items():
        for measure, svg in plots(entry).items():
            (folder / f"{name}-{measure}.svg").write_text(svg + "\n", encoding="utf-8")
