#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The benchmark's own arithmetic: medians, work rates, plots, the README's table. Moves nothing."""

import importlib.machinery
import importlib.util
import sys
import unittest
import xml.dom.minidom
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from bench import meter, plots, report, results  # noqa: E402
from lib.lab import heartbeat  # noqa: E402


def program(name):
    """A program of bench/ as a module."""
    loader = importlib.machinery.SourceFileLoader(name, str(ROOT / "bench" / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


def sample(completed=True, outcome=None, **values):
    """A sample in which every measure is 1 but for the given ones."""
    return {m: 1.0 for m in results.MEASURES} | values | {
        "completed": completed, "outcome": outcome or ("completed" if completed else "given up"),
        "error": "", "verified": False}


def entry(**contenders):
    """A case of results.json."""
    about = {"title": "T <1>", "guest": "G", "link": None, "goal": "", "cut": "",
             "phases": {"plan_ms": 3}, "pages": {"zero": 5},
             "command": "make bench CASES=t REPEAT=3", "date": "2026-01-01",
             "versions": {"mudanza": "0", "libvirt": "1", "qemu": "2"},
             "machine": {"processor": "P", "cores": 2, "kernel": "K"}}
    return {"about": about, **{n: results.digest(s) for n, s in contenders.items()}}


class Results(unittest.TestCase):
    def test_median_and_spread(self):
        result = results.digest([sample(total_ms=v) for v in (900.04, 100.0, 300.0)])
        self.assertEqual(result["median"]["total_ms"], 300.0)
        self.assertEqual(result["samples"]["total_ms"], [900.0, 100.0, 300.0])
        self.assertEqual(results.spread(result, "total_ms"), "300 [100-900]")

    def test_given_up_moves_have_no_downtime(self):
        result = results.digest([sample(False, downtime_ms=None), sample(downtime_ms=20.0)])
        self.assertEqual((result["given_up"], result["moves"]), (1, 2))
        self.assertEqual(result["median"]["downtime_ms"], 20.0)
        never = results.digest([sample(False, downtime_ms=None)])
        self.assertIsNone(never["median"]["downtime_ms"])
        self.assertEqual(results.spread(never, "downtime_ms"), "-")
        self.assertIsNone(results.ratio(result, never, "downtime_ms"))
        self.assertEqual(results.troubles(result), "1 of 2 given up")
        broken = results.digest([sample(False, "failed", downtime_ms=None)])
        self.assertEqual(results.troubles(broken), "1 of 1 failed")

    def test_ratio(self):
        own, peer = results.digest([sample(wire_mib=5)]), results.digest([sample(wire_mib=20)])
        self.assertEqual(results.ratio(own, peer, "wire_mib"), 0.25)

    def test_phases_are_those_of_completed_moves(self):
        reports = [{phase: ms for phase in results.PHASES} for ms in (10, 30, 20)]
        samples = [sample() | {"report": r} for r in reports] + [sample(False)]
        self.assertEqual(results.phases(samples), {phase: 20 for phase in results.PHASES})
        self.assertEqual(results.phases([sample(False)]), {})

    def test_pages_are_those_of_the_last_completed_move(self):
        moves = [{"stream": dict.fromkeys(results.KINDS, n)} for n in (1, 2)]
        samples = [sample() | {"report": r} for r in (*moves, {})] + [sample(False)]
        self.assertEqual(results.stream(samples), dict.fromkeys(results.KINDS, 2))
        self.assertEqual(results.stream([sample(False)]), {})

    def test_table_names_everybody(self):
        text = results.table("t", entry(mudanza=[sample(total_ms=50)], virsh=[sample(total_ms=200)]))
        self.assertIn("mudanza / virsh: whole command 0.25", text)


    def test_a_disturbed_move_shows_what_it_is_about(self):
        disturbed = entry(mudanza=[sample(resumed_ms=7, sent_twice=0, qemu_errors=0)],
                          virsh=[sample(False, "failed", total_ms=9)])
        disturbed["about"]["cut"] = "reset"
        text = results.table("t", disturbed)
        for title in ("data flows again, ms", "sent twice, blocks", "errors of QEMU"):
            self.assertIn(title, text)
        self.assertNotIn("mudanza / virsh", text)  # there is nothing to compare with
        self.assertIn("errors of QEMU", program("readme").text({"t": disturbed}))
        self.assertEqual(set(report.plots(disturbed)), set(report.CUT_PLOTTED))

    def test_what_is_not_known_is_nothing(self):
        known = sample()
        del known["resent"]
        self.assertIsNone(results.digest([known])["median"]["resent"])


class Work(unittest.TestCase):
    def lines(self, *pairs):
        return [heartbeat.Line(ms * 1_000_000, "HB", {"n": n}, None) for ms, n in pairs]

    def test_rate_includes_standing_still(self):
        lines = self.lines((0, 0), (100, 50), (1100, 60), (1200, 110))
        rate = meter.work_rate(lines, "n", 100_000_000, 1_150_000_000)
        self.assertAlmostEqual(rate, 60 / 1.1)

    def test_unknown_without_lines_on_both_sides(self):
        lines = self.lines((500, 10), (600, 20))
        self.assertIsNone(meter.work_rate(lines, "n", 400_000_000, 550_000_000))
        self.assertIsNone(meter.work_rate(lines, "n", 550_000_000, 700_000_000))
        self.assertIsNone(meter.work_rate(lines, "w", 500_000_000, 600_000_000))


class Report(unittest.TestCase):
    def setUp(self):
        self.everything = {"t": entry(mudanza=[sample()], virsh=[sample(False, downtime_ms=None)])}

    def test_axis_ends_at_or_above_the_largest(self):
        for value in (0.003, 0.7, 1, 9.9, 10, 11, 6543):
            end = plots.nice_end(value)
            self.assertTrue(value <= end <= value * 2.01, (value, end))

    def test_plots_are_well_formed_and_within_their_frame(self):
        rows = [("mudanza", 3, [2, 3, 4], None), ("virsh & co", None, [None], "given up")]
        plot = plots.Plot("a < b", "ms", rows)
        drawn = xml.dom.minidom.parseString(plot.svg())
        self.assertEqual(len(drawn.getElementsByTagName("circle")), 3)
        for bar in drawn.getElementsByTagName("rect"):
            self.assertLessEqual(float(bar.getAttribute("width")), plots.WIDTH)

    def test_page_says_what_never_ended(self):
        page = report.page(self.everything)
        self.assertIn("virsh: 1 of 1 given up", page)
        self.assertIn("T &lt;1&gt;", page)

    def test_readme(self):
        readme = program("readme")
        old = f"a\n{readme.BEGIN}\nold\n{readme.END}\nb\n"
        new = readme.replaced(old, readme.text(self.everything))
        self.assertNotIn("old", new)
        self.assertTrue(new.startswith("a\n") and new.endswith(f"{readme.END}\nb\n"))
        self.assertIn("| virsh | never ended |", new)
        with self.assertRaises(SystemExit):
            readme.replaced("no marks", "x")


if __name__ == "__main__":
    unittest.main()
