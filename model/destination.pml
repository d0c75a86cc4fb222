/* SPDX-License-Identifier: Apache-2.0 */
/* The destination's agent. It answers each word about an epoch by what its journal says of it. */

#define answer(m, e)                                                                               \
    if                                                                                             \
    :: link -> to_s!!m,e; printf("destination  -> %e(%d)\n", m, e)                                 \
    :: else                                                                                        \
    fi

/* Is this epoch known to have been aborted? */
#ifdef NO_TOMBSTONES
#define is_void(e) (e != dj_epoch)
#elif defined(BREAK_LATE_END)
#define is_void(e) (e < dj_epoch && dj == ABORTED)
#else
#define is_void(e) (e <= dj_epoch && dj == ABORTED)
#endif

#define has_all (dq == FILLED || dq == LOADED_ALL)

#ifdef BREAK_OWNER_BEFORE_BYTES
#define may_own true
#else
#define may_own has_all
#endif

/* True only when the guest certainly never executed here. */
#define never_ran (d_knows && !d_cont)
#define was_run (dj == OWNER && (dq == RUNS || (dq == DEAD && !never_ran)))

/* The deadline counts from the break of a connection. Where an aborted epoch is forgotten, a
 * PREPARE that comes after it starts a QEMU for nobody: no data connection ever comes, and that has
 * a deadline too. */
#ifdef NO_TOMBSTONES
#define overdue (d_broken || s_phase == IDLE)
#else
#define overdue d_broken
#endif

/* A copy that may be the only complete one is not thrown away without a word from the source. */
#ifdef BREAK_DESTINATION_SILENT
#define may_give_up false
#define may_query false
#else
#define may_give_up (!has_all)
#define may_query true
#endif

#ifdef BREAK_OWNER_BEFORE_LOAD
#define may_tell_owner (dj == OWNER)
#else
#define may_tell_owner was_run
#endif

/* The state of QEMU in which the mark is made, and what must be so before `cont`. */
#ifdef BREAK_CONT_BEFORE_MARK
#define may_mark RUNS
#define may_run (dj == OWNER)
#elif defined(BREAK_RUN_BEFORE_OWNER)
#define may_mark LOADED_ALL
#define may_run (d_end && (dj == PREPARED || dj == OWNER))
#else
#define may_mark LOADED_ALL
#define may_run (dj == OWNER && mark)
#endif

/* First the record; then QEMU ends, which frees disks and memory; only then may anybody be told.
 * NO_TOMBSTONES: attempts are told apart by UUIDs, and no record means aborted. */
inline destination_abort(epoch)
{
    dj_epoch = epoch;
    journal_d(ABORTED);
#ifdef NO_TOMBSTONES
    dj = NONE;
    dj_epoch = 0;
#endif
#ifndef BREAK_LATE_END
    dq = ABSENT;
#endif
    d_broken = false; d_rebooted = false; mark = false; wrong_bytes = false; pages_left = false;
    d_end = false; d_knows = false; d_cont = false; d_told = false; d_done = false
}

/* Bytes that came twice: so does the digest, as the first one may be lost. */
inline answer_digest_again()
{
#ifdef VERIFY
    d_done = false
#else
    skip
#endif
}

/* What the owner says when asked: post-copy is complete when nothing is needed any more. */
inline answer_owner(e)
{
    if
    :: !d_told /* not known yet: told as soon as it is */
    :: else ->
#ifdef POSTCOPY
        if
        :: pages_left && dq == RUNS -> answer(OWNER, e)
        :: else -> answer(COMPLETE, e)
        fi
#else
        answer(OWNER, e)
#endif
    fi
}

/* An epoch is new once, and for ever higher than those before it. A VM that is here already is not
 * taken in a second time. */
inline destination_prepare(epoch, broken)
{
    if
    :: epoch > dj_epoch && dj != OWNER && dq != RUNS ->
        if :: dj == PREPARED -> destination_abort(dj_epoch) :: else fi;
        dj_epoch = epoch;
        journal_d(PREPARED);
        dq = INCOMING; d_knows = true; d_broken = broken;
        answer(READY, epoch)
    :: epoch <= dj_epoch && is_void(epoch) -> answer(ABORTED, epoch)
    :: else
    fi
}

active proctype destination_agent()
{
end:
    do
    :: atomic { len(to_s) < ROOM && to_d??[PREPARE] -> to_d??PREPARE(e);
        destination_prepare(e, false); e = 0 }
    :: atomic { len(to_s) < ROOM && to_d??[PREPARE_LATE] -> to_d??PREPARE_LATE(e);
        destination_prepare(e, true); e = 0 }
    :: atomic { len(to_s) < ROOM && to_d??[BYTES] -> to_d??BYTES(e);
        if
        :: e == dj_epoch && (dj == PREPARED || dj == OWNER) ->
            answer_digest_again();
            if
            :: dq == INCOMING ->
                dq = FILLED;
#ifdef VERIFY
                if
                :: left > 0 -> fault(); wrong_bytes = true;
                    printf("world        bytes flipped\n")
                :: true
                fi
#endif
            :: else
            fi
        :: is_void(e) -> answer(ABORTED, e)
        :: else
        fi; e = 0 }
#ifdef VERIFY
    :: atomic { d_up && dj == PREPARED && dq == LOADED_ALL && !d_done && len(to_s) < ROOM ->
        d_done = true;
        if :: wrong_bytes -> answer(BAD, dj_epoch) :: else -> answer(LOADED, dj_epoch) fi }
#endif
    :: atomic { len(to_s) < ROOM && to_d??[END] -> to_d??END(e);
        if
        :: e == dj_epoch && dj == PREPARED -> d_end = true
        :: e == dj_epoch && dj == OWNER -> answer_owner(e)
#ifdef BREAK_LATE_END
        :: e == dj_epoch && dj == ABORTED -> journal_d(PREPARED); d_end = true; d_knows = true
#endif
        :: e < dj_epoch || is_void(e) -> answer(ABORTED, e)
        :: else /* an epoch never prepared: READY precedes END */
        fi; e = 0 }

    /* ---- own: while QEMU loads ---- */
    :: atomic { d_end && dj == PREPARED && may_own -> journal_d(OWNER) }
    /* ---- run: record, load and mark, in any order; then `cont` ---- */
    :: atomic { d_up && dj == OWNER && dq == may_mark && !mark -> mark = true }
    :: atomic { d_up && dq == LOADED_ALL && may_run -> d_cont = true; dq = RUNS; ran_there = true;
#ifdef POSTCOPY
        pages_left = true;
#endif
        printf("destination  guest runs\n"); check_destination_runs() }
    :: atomic { d_up && may_tell_owner && !d_told && len(to_s) < ROOM ->
        d_told = true; answer_owner(dj_epoch) }
#ifdef POSTCOPY
    :: atomic { d_up && d_told && (!pages_left || dq != RUNS) && !d_done && len(to_s) < ROOM ->
        d_done = true; answer(COMPLETE, dj_epoch) }
    :: atomic { to_d??GONE(e) ->
        if
        :: e == dj_epoch && dq == RUNS && pages_left ->
            dq = DEAD; pages_left = false; printf("destination  guest lost\n")
        :: else
        fi; e = 0 }
#endif

#ifdef NO_TOMBSTONES
    :: atomic { to_d??FORGET(e) ->
        if
        :: e == dj_epoch && dj == OWNER ->
            dj = NONE; dj_epoch = 0;
            d_rebooted = false; mark = false;
            d_end = false; d_knows = false; d_cont = false; d_told = false; d_done = false
        :: else
        fi; e = 0 }
#endif

    /* ---- not own: only while it certainly never ran here ---- */
    :: atomic { d_up && (dj == PREPARED || (dj == OWNER && never_ran)) &&
                dq == DEAD && len(to_s) < ROOM ->
        e = dj_epoch; destination_abort(e); answer(ABORTED, e); e = 0 }
    :: atomic { d_up && overdue && dj == PREPARED && may_give_up && len(to_s) < ROOM ->
        printf("destination  deadline\n");
        e = dj_epoch; destination_abort(e); answer(ABORTED, e); e = 0 }
    :: atomic { d_up && d_broken && dj == PREPARED && may_query && link && len(to_s) < ROOM ->
        d_broken = false; answer(QUERY, dj_epoch) }
    :: atomic { d_up && dj == OWNER && dq == LOADED_ALL && mark && never_ran && left > 0 &&
                len(to_s) < ROOM ->
        fault(); printf("world        cont is refused\n");
        e = dj_epoch; destination_abort(e); answer(ABORTED, e); e = 0 }

    /* ---- asked ---- */
    :: atomic { len(to_s) < ROOM && to_d??[ASK] -> to_d??ASK(e);
        if
        :: e == dj_epoch && dj == PREPARED && !(d_end && has_all) ->
#ifdef BREAK_ABORTED_NOT_JOURNALLED
            answer(ABORTED, e)
#elif defined(BREAK_CHECK_THEN_WRITE)
            race_epoch = e
#else
            destination_abort(e); answer(ABORTED, e)
#endif
        :: e == dj_epoch && dj == PREPARED && d_end && has_all
        :: e == dj_epoch && dj == OWNER -> answer_owner(e)
        :: e < dj_epoch || is_void(e) -> answer(ABORTED, e)
        :: else -> destination_abort(e); answer(ABORTED, e)
        fi; e = 0 }
#ifdef BREAK_CHECK_THEN_WRITE
    /* a second thread of the agent, which wrote what it had decided before */
    :: atomic { d_up && race_epoch != 0 && len(to_s) < ROOM ->
        journal_d(ABORTED); answer(ABORTED, race_epoch); race_epoch = 0 }
#endif
    :: atomic { d_up && dj == OWNER && dq == DEAD && was_run && starts < STARTS && !pages_left &&
                d_told ->
        starts++;
        dq = RUNS; ran_there = true; printf("destination  cold start\n");
        check_destination_runs(); check_cold_start() }
    od
}

/* Every `cont` is preceded by the mark, so no mark means no `cont`; but the mark goes with the
 * host's memory, so after a restart of the host its absence says nothing. */
#ifdef NO_MARK
#define restart_knows false
#elif defined(BREAK_OWNER_TAKEN_BACK)
#define restart_knows true
#elif defined(BREAK_MARK_OUTLIVES_REBOOT)
#define restart_knows (!mark)
#else
#define restart_knows (!mark && !d_rebooted)
#endif

/* A new agent process: nothing but a complete, owned guest may go forward. */
inline destination_restart()
{
    d_up = true;
    printf("destination  agent starts, journal says %e(%d)\n", dj, dj_epoch);
    if
    :: dj == PREPARED -> destination_abort(dj_epoch)
    :: dj == ABORTED -> dq = ABSENT
    :: dj == OWNER -> d_knows = restart_knows
    :: else
    fi
}

inline destination_crash()
{
    d_up = false;
    d_end = false; d_knows = false; d_cont = false; d_told = false; d_done = false;
    d_broken = false;
    do :: to_d?_,_ :: empty(to_d) -> break od;
    if :: dq == INCOMING -> dq = DEAD :: else fi
}
