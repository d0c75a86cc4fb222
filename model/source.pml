/* SPDX-License-Identifier: Apache-2.0 */
/* The source's agent. `ours` says that a message belongs to the present attempt. */

#ifdef BREAK_NO_EPOCH
#define ours(e) true
#else
#define ours(e) (e == sj_epoch)
#endif

/* The guest goes on here, if QEMU can: not when it ended, nor (no command of QEMU leads out of
 * that) when it waits for a post-copy stream that nobody holds any more. */
inline source_resume()
{
    if
    :: sq == RUNS || sq == DEAD
#ifdef NO_DUPLICATES
    :: sq == SEVERED -> sq = DEAD; printf("source       guest lost\n")
#endif
    :: else ->
        sq = RUNS;
        printf("source       guest runs\n");
        check_source_runs()
    fi;
    migrating = false;
    go_on = false;
    stopped_first = false
}

/* Back: first the record, then the guest. `told`: the destination needs no word from us. */
inline source_roll_back(told)
{
    journal_s(ABORTED);
    s_told = told;
    s_phase = RESUMING
}

/* Before END left, nobody but us can have the guest: no question is needed. */
#define end_not_sent (s_phase == PREPARING || s_phase == COPYING)
#ifdef BREAK_ABORT_AFTER_END
#define may_abort (end_not_sent || s_phase == WAITING)
#else
#define may_abort (end_not_sent && sj == PREPARED)
#endif

/* END leaves only when COMMIT is durable and QEMU can no longer resume the guest by itself. */
#ifdef BREAK_END_BEFORE_COMMIT
#define committed true
#else
#define committed (sj == COMMIT)
#endif
#ifdef BREAK_END_BEFORE_PASSED
#define cannot_resume_itself true
#else
#define cannot_resume_itself s_passed
#endif

#if defined(VERIFY) && !defined(BREAK_COMMIT_UNVERIFIED)
#define verified s_equal
#else
#define verified true
#endif

#ifdef BREAK_NEVER_ASKS
#define may_ask s_bytes
#else
#define may_ask true
#endif

active proctype source_agent()
{
end:
    do
    /* ---- prepare ---- */
    :: atomic { s_up && link && s_phase == IDLE && sq == RUNS && !migrating && sj != DONE &&
                attempts < EPOCHS && len(to_d) < ROOM ->
        attempts++;
#ifdef BREAK_EPOCH_REUSED
        sj_epoch = 1;
#else
        sj_epoch++;
#endif
        journal_s(PREPARED);
        s_broken = false; s_bytes = false; s_sent = false; s_passed = false; s_equal = false;
        clean = true;
        s_phase = PREPARING;
        to_destination(PREPARE) }
    :: atomic { to_s??READY(e) ->
        if
        :: s_phase == PREPARING && ours(e) -> migrating = true; s_phase = COPYING
        :: else
        fi; e = 0 }

    /* ---- copy and stop ---- */
#ifdef STOP_FIRST
    :: atomic { s_phase == COPYING && sq == RUNS && migrating ->
        stopped_first = true; sq = GATED; printf("source       guest stopped by agent\n") }
#endif
    :: atomic { s_phase == COPYING && sq == GATED && !go_on -> go_on = true }
    :: atomic { s_phase == COPYING && (sq == WRITTEN || sq == PASSED) && !s_bytes ->
        s_bytes = true }
    :: atomic { s_phase == COPYING && sq == PASSED && s_bytes && !s_passed ->
        s_passed = true }
    :: atomic { s_phase == COPYING && s_bytes && !s_sent && link && len(to_d) < ROOM ->
        s_sent = true; to_destination(BYTES) }
    :: atomic { s_phase == COPYING && s_broken && link -> s_broken = false; s_sent = false }
#ifdef VERIFY
    :: atomic { to_s??LOADED(e) ->
        if :: s_phase == COPYING && ours(e) -> s_equal = true :: else fi; e = 0 }
    :: atomic { to_s??BAD(e) ->
        if
        :: s_phase == COPYING && sj == PREPARED && ours(e) -> source_roll_back(false)
        :: else
        fi; e = 0 }
#endif

    /* ---- commit: while the last bytes flow ---- */
    :: atomic { s_phase == COPYING && sj == PREPARED &&
                (sq == GATED || sq == WRITTEN || sq == PASSED || s_passed) && verified ->
        journal_s(COMMIT) }
    :: atomic { s_phase == COPYING && s_sent && committed && cannot_resume_itself && link &&
                len(to_d) < ROOM ->
        s_phase = WAITING; to_destination(END) }
#ifdef BREAK_END_BEFORE_COMMIT
    :: atomic { s_phase == WAITING && sj == PREPARED -> journal_s(COMMIT) }
#endif

    /* ---- back, before END ---- */
    :: atomic { may_abort && sq != DEAD && aborts < ABORTS ->
        aborts++; clean = false; printf("user         abort\n"); source_roll_back(false) }
    :: atomic { end_not_sent && s_broken && sq != DEAD && (!link || s_phase == PREPARING) ->
        printf("source       deadline\n"); source_roll_back(false) }
    :: atomic { end_not_sent && (sq == DEAD || sq == HELD || (sq == RUNS && !migrating)) &&
                s_phase == COPYING && !s_passed ->
        printf("source       QEMU failed\n"); source_roll_back(false) }
    :: atomic { s_phase == PREPARING && sq == DEAD -> source_roll_back(false) }
    :: atomic { s_phase == RESUMING ->
        source_resume();
        if :: s_told -> s_phase = IDLE :: else -> s_phase = TELLING fi;
        s_bytes = false; s_sent = false; s_passed = false; s_equal = false; s_told = false }
    :: atomic { s_phase == TELLING && link && len(to_d) < ROOM ->
        s_phase = IDLE; s_broken = false; to_destination(ASK) }

    /* ---- the destination wonders what has become of an attempt ---- */
    :: atomic { len(to_d) < ROOM && to_s??[QUERY] -> to_s??QUERY(e);
        if
        :: (e != sj_epoch || s_phase == IDLE || s_phase == RESUMING) && link ->
            to_d!!ASK,e; printf("source       -> ASK(%d)\n", e)
        :: else
        fi; e = 0 }

    /* ---- the answer ---- */
    :: atomic { to_s??ABORTED(e) ->
        if
        :: (end_not_sent || s_phase == WAITING) && ours(e) ->
#ifdef RESUME_BEFORE_RECORD
            source_resume();
#endif
            source_roll_back(true)
        :: else
        fi; e = 0 }
    :: atomic { to_s??OWNER(e) ->
        if
        :: s_phase == WAITING && ours(e) ->
#if defined(POSTCOPY) && !defined(BREAK_POSTCOPY_END_ON_OWNER)
            s_phase = SERVING; s_sent = false
#else
            s_phase = FINISHING
#endif
        :: else
        fi; e = 0 }
#ifdef POSTCOPY
    :: atomic { to_s??COMPLETE(e) ->
        if :: (s_phase == WAITING || s_phase == SERVING) && ours(e) -> s_phase = FINISHING
        :: else
        fi; e = 0 }
    :: atomic { s_phase == SERVING && sq == DEAD && link && len(to_d) < ROOM && !s_sent ->
        s_sent = true; to_destination(GONE) }
#ifdef BREAK_POSTCOPY_ROLLBACK
    :: atomic { s_phase == SERVING && s_broken && !link -> source_roll_back(false) }
#endif
#endif
    :: atomic { s_phase == FINISHING && sq != DEAD ->
        check_source_ends(); sq = DEAD; printf("source       QEMU ended\n") }
#if defined(BREAK_FORGET_BEFORE_DONE)
    :: atomic { s_phase == FINISHING && sq == DEAD && link && len(to_d) < ROOM ->
        s_phase = ENDED; to_destination(FORGET) }
    :: atomic { s_phase == ENDED -> journal_s(DONE); s_phase = OVER }
#elif defined(NO_TOMBSTONES)
    :: atomic { s_phase == FINISHING && sq == DEAD -> journal_s(DONE); s_phase = ENDED }
    :: atomic { s_phase == ENDED && link && len(to_d) < ROOM ->
        s_phase = OVER; to_destination(FORGET) }
#else
    :: atomic { s_phase == FINISHING && sq == DEAD -> journal_s(DONE); s_phase = OVER }
#endif
#ifdef BREAK_END_QEMU_AFTER_END
    :: atomic { s_phase == WAITING && sq != DEAD -> check_source_ends(); sq = DEAD }
#endif

    /* ---- in doubt: repeat END while we hold the bytes, else ask ---- */
    :: atomic { s_phase == WAITING && s_broken && link && s_bytes && len(to_d) + 1 < ROOM ->
        s_broken = false; to_destination(BYTES); to_destination(END) }
    :: atomic { s_phase == WAITING && s_broken && link && len(to_d) < ROOM &&
                (!s_bytes || sq != DEAD) && may_ask ->
        s_broken = false; to_destination(ASK) }
#ifdef POSTCOPY
    :: atomic { s_phase == SERVING && s_broken && link && len(to_d) < ROOM ->
        s_broken = false; s_sent = false; to_destination(ASK) }
#endif
#ifdef BREAK_RESUME_ON_TIMEOUT
    :: atomic { s_phase == WAITING && s_broken && !link -> source_roll_back(false) }
#endif

    /* ---- a guest that is down is started afresh, never while its owner is in doubt ---- */
    :: atomic { s_up && s_phase == IDLE && sq == DEAD && starts < STARTS -> starts++;
        sq = RUNS; printf("source       cold start\n");
        check_source_runs(); check_cold_start() }
#ifdef BREAK_START_IN_DOUBT
    :: atomic { s_phase == WAITING && sq == DEAD && starts < STARTS -> starts++;
        sq = RUNS; check_source_runs() }
#endif
    od
}

/* A new agent process on this host: the journal decides. It never goes forward from PREPARED. */
inline source_restart()
{
    s_up = true;
    printf("source       agent starts, journal says %e(%d)\n", sj, sj_epoch);
    if
    :: sj == NONE -> s_phase = IDLE
    :: sj == PREPARED -> source_roll_back(false)
    :: sj == COMMIT ->
#ifdef BREAK_FORGETS_COMMIT
        source_roll_back(false)
#else
        s_phase = WAITING; s_broken = true
#endif
    :: sj == ABORTED -> s_phase = RESUMING; s_told = true
    :: sj == DONE -> s_phase = OVER
    fi
}

/* What QEMU does when its stream breaks: it resumes a guest that it has stopped itself. */
inline source_reflex()
{
    migrating = false; go_on = false;
    if
    :: stopped_first -> sq = HELD
    :: !stopped_first && sq != RUNS ->
        sq = RUNS; printf("source       QEMU resumes the guest by itself\n");
        check_source_runs()
    :: else
    fi;
    stopped_first = false
}

/* Everything in memory is gone. A stream whose only other end was ours is broken. */
inline source_crash()
{
    s_up = false;
    s_phase = OVER;
    s_broken = false; s_bytes = false; s_sent = false; s_passed = false; s_equal = false;
    s_told = false;
    do :: to_s?_,_ :: empty(to_s) -> break od;
#ifdef NO_DUPLICATES
    if
    :: migrating && (sq == RUNS || sq == GATED || sq == WRITTEN) -> source_reflex()
#ifdef POSTCOPY
    :: migrating && sq == PASSED -> sq = SEVERED
#endif
    :: else
    fi
#endif
}
