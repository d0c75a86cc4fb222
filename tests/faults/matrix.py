# SPDX-License-Identifier: Apache-2.0
"""What is broken where, and what must come of it.

The expected outcomes are written down here by hand from the table of docs/handover.md and from its
rules; nothing of them is computed. Each row is a point of src/base/fault_points.h, each column a
fault that happens while an agent is at that point:

kill      its agent kills itself, and is started again
both      both agents are killed, and started again
error     what stands there fails
cut       every connection between the agents breaks; new ones can be made
pause     its agent stands still for a moment
cancel    the user aborts the move
src-qemu  the source's QEMU is killed
dst-qemu  the destination's QEMU is killed

there     the VM runs at the destination, the source has let go of it
back      the VM runs at the source, the destination has nothing of it
lost      the guest died with the source's QEMU, as in any crash; the destination has nothing of it
crash     the guest died with the destination's QEMU after it had run there
a|b       either, but both agents agree

An abort is refused from source-commit-before on: that COMMIT will be written is decided there.
.         makes no sense there, or is the same as in another row
"""

PRE_COPY = """
point                        kill        both        error  cut         pause  cancel  src-qemu    dst-qemu
source-plan                  back        .           back   there|back  there  back    lost        .
source-prepared-before       back        .           back   there|back  .      back    lost        .
source-prepared-after        back        back        back   there|back  there  back    lost        .
source-ready                 back        back        back   there|back  .      back    lost        back
source-follows               back        .           back   there|back  there  back    lost        back
source-connect               back        .           there  there       there  back    lost        back
source-stream-before         back        back        back   there       .      back    lost        back
source-stream-started        back        back        back   there       there  back    lost        back
source-copy                  back        back        back   there       there  back    lost        back
source-pre-switchover        back        back        back   there       there  back    lost        back
source-continued             back        back        back   there       there  back    .           back
source-verified              back        back        back   there       .      back    .           back
source-commit-before         back        back        back   there       .      there   .           back
source-commit-after          back        back        .      there|back  there  there   there|lost  back
source-end-before            back        back        back   there|back  there  there   there       back
source-end-after             there       there       there  there       there  .       there       back|crash
source-owner                 there       there       .      there       there  there   there       crash
source-qemu-end-before       there       there       there  there       .      .       there       crash
source-qemu-end-after        there       there       there  there       .      .       .           crash
source-definition-drop       there       .           there  .           .      .       .           .
source-done-before           there       there       there  there       there  .       .           .
source-done-after            there       there       .      there       .      .       .           .
source-forgotten             there       there       .      .           .      .       .           .
destination-prepare          back        .           back   there|back  there  back    lost        .
destination-prepared-before  back        .           back   there|back  .      .       .           .
destination-prepared-after   back        back        back   there|back  there  back    lost        .
destination-qemu-started     back        back        back   there|back  .      back    lost        back
destination-ready            back        back        back   there|back  there  back    lost        back
destination-attached         back        back        back   there       .      back    lost        back
destination-bytes            back        back        back   there       there  back    lost        back
destination-end              back        back        back   there       there  there   there       back
destination-owner-before     back        back        back   there       .      .       there       back
destination-owner-after      there       there       back   there       there  .       there       back
destination-loaded           there|back  there|back  back   there|back  there  .       .           back
destination-mark-before      there       there       back   there       .      .       there       back
destination-cont-before      there       there       back   there       there  there   there       back
destination-cont-after       there       there       .      there       there  there   there       crash
destination-told             there       there       .      there       .      .       .           crash
destination-received-before  there       there       there  there       .      .       .           .
destination-received-after   there       there       .      .           .      .       .           .
destination-forget-before    there       there       there  there       there  .       .           .
destination-forget-after     there       there       there  there       .      .       .           .
"""

#: Faults within what follows a fault: (name, faults of A, of B, of the restarted A, of the
#: restarted B, outcome).
TWICE = [
    ("source-rollback:kill", "source-copy:error,source-rollback:kill", "", "", "", "back"),
    ("source-rollback:cut", "source-copy:error,source-rollback:cut", "", "", "", "back"),
    ("source-resumed:kill", "source-copy:error,source-resumed:kill", "", "", "", "back"),
    ("source-resumed:cut", "source-copy:error,source-resumed:cut", "", "", "", "back"),
    ("source-aborted-before:kill", "source-copy:error,source-aborted-before:kill", "", "", "",
     "back"),
    ("source-aborted-after:kill", "source-copy:error,source-aborted-after:kill", "", "", "",
     "back"),
    ("destination-undo:kill", "source-copy:error", "destination-undo:kill", "", "", "back"),
    ("destination-aborted-before:kill", "source-copy:error", "destination-aborted-before:kill", "",
     "", "back"),
    ("destination-aborted-before:error", "source-copy:error", "destination-aborted-before:error",
     "", "", "back"),
    ("destination-aborted-after:kill", "source-copy:error", "destination-aborted-after:kill", "",
     "", "back"),
    ("source-closing:kill", "source-done-after:kill", "", "source-closing:kill", "", "there"),
    ("source-closing:error", "source-done-after:kill", "", "source-closing:error", "", "there"),
    ("source-recover:kill", "source-copy:kill", "", "source-recover:kill", "", "back"),
    ("destination-recover:kill-prepared", "", "destination-bytes:kill", "",
     "destination-recover:kill", "back"),
    ("destination-recover:kill-owner", "", "destination-owner-after:kill", "",
     "destination-recover:kill", "there"),
    ("source-ask:kill-committed", "source-commit-after:kill", "", "source-ask:kill", "", "back"),
    ("source-ask:kill-sent", "source-end-after:kill", "", "source-ask:kill", "", "there"),
    ("source-ask:error", "source-end-after:kill", "", "source-ask:error", "", "there"),
    ("source-ask:cut", "source-end-after:kill", "", "source-ask:cut=1500", "", "there"),
    ("source-answered:kill-committed", "source-commit-after:kill", "", "source-answered:kill", "",
     "back"),
    ("source-answered:kill-sent", "source-end-after:kill", "", "source-answered:kill", "", "there"),
    ("source-answered:error", "source-end-after:kill", "", "source-answered:error", "", "there"),
    ("source-answered:cut", "source-end-after:kill", "", "source-answered:cut", "", "there"),
    ("destination-outcome:kill-committed", "source-commit-after:kill", "destination-outcome:kill",
     "", "", "back"),
    ("destination-outcome:kill-sent", "source-end-after:kill", "destination-outcome:kill", "", "",
     "there"),
    ("destination-outcome:error", "source-end-after:kill", "destination-outcome:error", "", "",
     "there"),
    ("destination-outcome:cut", "source-end-after:kill", "destination-outcome:cut", "", "",
     "there"),
]

#: A post-copy move whose source sends slowly from its COMMIT on, so that pages are missing at the
#: destination whenever something happens there. Where the guest had run there, its death is
#: "crash", whichever QEMU died.
POST_COPY = """
point                        kill   both   error  cut         pause  cancel  src-qemu    dst-qemu
source-copy                  back   .      back   there       there  back    lost        back
source-post-copy-switch      back   back   back   there       there  back    lost        back
source-pre-switchover        back   back   back   there       .      back    lost        back
source-commit-before         back   .      back   there       .      there   lost        back
source-commit-after          back   back   .      there|back  there  there   lost        back
source-owner                 there  there  .      there       there  there   crash       crash
source-post-copy             there  there  .      there       there  there   crash       crash
source-qemu-end-before       there  .      there  there       .      .       there       crash
source-done-after            there  .      .      there       .      .       .           .
destination-attached         back   .      back   there       .      back    lost        back
destination-bytes            back   .      back   there       .      back    lost        back
destination-end              back   back   back   there       there  there   lost|crash  back
destination-owner-before     back   .      back   there       .      .       lost|crash  back
destination-owner-after      there  there  back   there       there  .       lost|crash  back
destination-cont-before      there  there  back   there       .      .       lost|crash  back
destination-cont-after       there  there  .      there       there  there   crash       crash
destination-told             there  .      .      there       .      .       crash       crash
destination-post-copy        there  there  .      there       there  there   crash       crash
destination-received-before  there  .      there  there       .      .       .           .
destination-forget-before    there  .      there  there       .      .       .           .
"""

#: The same at a few points, with a KVM guest and with QEMU 7.2.
FEW = """
point                    kill   cut    cancel  src-qemu  dst-qemu
source-stream-started    back   there  back    lost      back
source-pre-switchover    back   there  back    lost      back
source-commit-after      back   .      there   .         back
source-end-after         there  there  .       there     .
destination-end          back   there  there   there     back
destination-owner-after  there  there  .       there     back
destination-cont-before  there  .      .       .         back
destination-cont-after   there  there  .       there     crash
"""

#: The same with a guest that leaves more for the end than the sockets on the way hold. The agent takes
#: it off QEMU also while it is held at source-continued, so that QEMU may have said "completed".
FULL = """
point                    kill   both   cancel  src-qemu    dst-qemu
source-copy              back   back   back    lost        back
source-pre-switchover    back   back   back    lost        back
source-continued         back   back   back    there|lost  back
source-commit-after      back   back   there   .           back
source-end-after         there  there  .       there       .
destination-owner-after  there  there  .       there       back
"""


def rows(table):
    """(point, fault, outcome) of each cell of a table."""
    lines = [line.split() for line in table.strip().splitlines()]
    for point, *outcomes in lines[1:]:
        for fault, outcome in zip(lines[0][1:], outcomes, strict=True):
            if outcome != ".":
                yield point, fault, outcome
