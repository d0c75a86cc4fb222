# SPDX-License-Identifier: Apache-2.0
"""The fault matrix, cell by cell. docs/testing.md says how to run one."""

from lib import paths

from . import matrix
from .cell import BUSY, COPY, SLOW, SLOW_FROM, Cell, CellCase

#: Points that a move passes only with these options.
NEEDS = {"source-verified": (("verify", True),),
         "source-definition-drop": (("undefine_source", True), ("persistent", True))}
#: Points that are passed again and again: the fault comes at this passage.
PASSAGE = {"destination-bytes": "@3", "source-copy": "@2"}
#: Points of a post-copy at which pages are still missing, if the source sends slowly.
MISSING = ("source-owner", "source-post-copy", "destination-end", "destination-owner-before",
           "destination-owner-after", "destination-cont-before", "destination-cont-after",
           "destination-told", "destination-post-copy")
#: What the agents do by themselves, and what they hold for.
OWN = {"kill": "kill", "error": "error", "cut": "cut", "pause": "stop"}


def cell_of(point, fault, outcome, *, options=(), post_copy=False, bandwidth=COPY, **more):
    """The cell of a row and a column of a table."""
    at = PASSAGE.get(point, "")
    faults = {"A": "", "B": ""}
    role = "A" if point.startswith("source") else "B"
    faults[role] = f"{point}:{OWN.get(fault, 'hold')}{at}"
    if fault == "cancel":
        faults["A"] += ("," if faults["A"] else "") + "source-cancel:hold"
    slow = post_copy and point in MISSING
    if slow:
        faults["A"] = ",".join(filter(None, (f"{SLOW_FROM}:hold", faults["A"])))
    if post_copy:
        options = (*options, ("post_copy", True))
    return Cell(f"{point}:{fault}", outcome, slow=slow, faults=(faults["A"], faults["B"]), point=point,
                act=fault if fault not in ("kill", "error", "cut") else "",
                options=(("bandwidth", bandwidth), *NEEDS.get(point, ()), *options), **more)


class PreCopy(CellCase):
    """Every point, every fault: a live move between two QEMU 10."""


class Twice(CellCase):
    """Faults while a move is undone, recovered or asked about."""


class PostCopy(CellCase):
    """Every point, every fault that matters: a move that ends in post-copy."""


class Full(CellCase):
    """Some of PreCopy with a guest that writes until the end."""


class Kvm(CellCase):
    """Some of PreCopy with a guest under KVM."""


class Qemu7(CellCase):
    """Some of PreCopy between two QEMU 7.2, whose RAM is compared and put right at the handover."""


def add(case, cells):
    for cell in cells:
        setattr(case, f"test_{cell.name}", lambda self, cell=cell: self.run_cell(cell))


add(PreCopy, (cell_of(*row) for row in matrix.rows(matrix.PRE_COPY)))
add(Twice, (Cell(name, outcome, faults=(a, b), restarted=(again_a, again_b),
                 options=(("bandwidth", COPY),))
            for name, a, b, again_a, again_b, outcome in matrix.TWICE))
add(PostCopy, (cell_of(*row, cmdline=BUSY, post_copy=True)
               for row in matrix.rows(matrix.POST_COPY)))
add(Full, (cell_of(*row, cmdline=BUSY, bandwidth=4 * COPY) for row in matrix.rows(matrix.FULL)))
add(Kvm, (cell_of(*row, accelerator="kvm", cmdline=SLOW) for row in matrix.rows(matrix.FEW)))
add(Qemu7, (cell_of(*row, emulators=(paths.QEMU_7, paths.QEMU_7), machine="pc-q35-7.2")
            for row in matrix.rows(matrix.FEW)))
