/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handover of one VM between two hosts, as a model for Spin. docs/handover.md explains it.
 *
 * Theory of operation. Every step of an agent is one atomic block: a guard over what the agent can
 * know (its journal, its memory, a message, what its QEMU says), then the effect. A crash can fall
 * between any two blocks. What an agent may look at:
 *
 *     sj, dj, epochs      journals: survive everything
 *     mark                a file in /run: survives the agent, not the host
 *     s_..., d_...        memory of an agent: gone when it dies
 *     sq, dq              its own QEMU, asked over QMP
 *
 * Variables under "ghosts" belong to the observer; no agent reads them.
 *
 * Every cycle of retries needs a new fault, and faults are bounded, so every run is finite: no
 * fairness has to be assumed, and "every job ends" is what `ends` and the judge check.
 *
 * Compile-time parameters (-D):
 *     FAULTS=n    faults of any kind in a run       ABORTS=n   aborts by the user
 *     EPOCHS=n    attempts to migrate               STARTS=n   cold starts of a dead guest
 *     POSTCOPY    the handover starts a post-copy   VERIFY     RAM digests are compared
 * and the names of the broken variants, each next to the step that it breaks (BREAK_...).
 */

#ifndef FAULTS
#define FAULTS 2
#endif
#ifndef EPOCHS
#define EPOCHS 2
#endif
#ifndef ABORTS
#define ABORTS 1
#endif
#ifndef STARTS
#define STARTS 1
#endif

/* Messages. To the destination (PREPARE_LATE: a PREPARE whose connection is already broken): */
mtype = { PREPARE, PREPARE_LATE, BYTES, END, ASK, GONE, FORGET };
/* To the source: */
mtype = { READY, LOADED, BAD, OWNER, COMPLETE, QUERY };
/* ABORTED is a message to the source and a state of both journals. */
mtype = { ABORTED };
/* Other states of the journals. */
mtype = { NONE, PREPARED, COMMIT, DONE };
/* Phases of the source agent, in its memory. */
mtype = { IDLE, PREPARING, COPYING, WAITING, SERVING, FINISHING, ENDED, RESUMING, TELLING,
          OVER };
/* The source's QEMU: the guest runs; stopped at pre-switchover; everything written, but it still
 * waits for something; `completed` (post-copy: `postcopy-active`); stopped, migration failed;
 * post-copy with a lost stream. */
mtype = { RUNS, GATED, WRITTEN, PASSED, HELD, SEVERED };
/* The destination's QEMU: none; waits for bytes; has all in its socket; loaded; ended or failed to
 * load. RUNS and DEAD are shared. */
mtype = { ABSENT, INCOMING, FILLED, LOADED_ALL, DEAD };

/* ---- durable ---- */
mtype sj = NONE;
byte sj_epoch = 0;
mtype dj = NONE;
byte dj_epoch = 0;
bool mark = false; /* destination: /run file, "may have run", written before `cont` */

/* ---- QEMU processes ---- */
mtype sq = RUNS;
mtype dq = ABSENT;
bool migrating = false;    /* the source's QEMU has a migration under way */
bool go_on = false;        /* it was told migrate-continue */
bool stopped_first = false; /* it was stopped by the agent before it stopped itself */
bool pages_left = false;   /* post-copy: RAM that only the source has */
bool wrong_bytes = false;  /* the destination's RAM differs */

/* ---- source agent's memory ---- */
bool s_up = true;
mtype s_phase = IDLE;
bool s_broken = false; /* a connection broke since we last synchronised */
bool s_bytes = false;  /* we hold the whole stream */
bool s_sent = false;   /* we sent it */
bool s_passed = false; /* QEMU said `completed` (`postcopy-active`) */
bool s_equal = false;  /* VERIFY: the destination's digest is ours */
bool s_told = false;   /* the destination needs no word from us */

/* ---- destination agent's memory ---- */
bool d_up = true;
bool d_broken = false;
bool d_end = false;      /* END of this epoch arrived */
bool d_knows = false;    /* this process knows that none before it sent `cont` */
bool d_cont = false;     /* this process sent `cont` */
bool d_rebooted = false; /* the boot id in the OWNER record is not this boot's */
bool d_told = false;     /* OWNER was told */
bool d_done = false;     /* COMPLETE was told, or (VERIFY) the digest */

#ifdef BREAK_CHECK_THEN_WRITE
byte race_epoch = 0; /* what one thread has read while the other one writes */
#endif

/* ---- network: every message may be overtaken by any other ---- */
#ifndef ROOM
#define ROOM 8
#endif
chan to_d = [ROOM] of { mtype, byte };
chan to_s = [ROOM] of { mtype, byte };
bool link = true; /* both agents up and connected */

/* The epoch of the message at hand, and a number: set and cleared inside one atomic step, so that
 * they add no states. */
byte e = 0;
byte x = 0;

/* ---- ghosts ---- */
byte faults = 0;            /* how many there will be: chosen first, so that each run ends */
byte left = 0;              /* how many of them are still to come */
byte aborts = 0;
byte starts = 0;
byte attempts = 0;
bool host_lost = false;   /* a fault took a whole host */
bool guest_crash = false; /* a fault took the only QEMU that could have the guest */
bool ran_there = false;   /* the guest executed at the destination */
bool clean = false;       /* no fault, no abort since the last attempt began */
/* What the invariants say must stay false. */
bool I1_two_running = false;
bool I1_stale_copy_resumed = false;
bool I2_only_copy_ended = false;
bool I2_guest_lost = false;
bool I3_wrong_bytes_run = false;
bool I4_retry_failed = false;
bool L_outcome_unknown = false;

#define faults_so_far (faults - left)
#define violated(name) name = true; assert(!name)

/* Sorted queues: the same set of messages is the same state. */
#define to_destination(m) to_d!!m,sj_epoch; printf("source       -> %e(%d)\n", m, sj_epoch)
#define journal_s(state) sj = state; printf("source       J(%e %d)\n", state, sj_epoch)
#define journal_d(state) dj = state; printf("destination  J(%e %d)\n", state, dj_epoch)

/* Every fault calls this. */
inline fault()
{
    left--;
    clean = false
}

#include "invariants.pml"
#include "source.pml"
#include "destination.pml"
#include "world.pml"
