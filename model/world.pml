/* SPDX-License-Identifier: Apache-2.0 */
/* Both QEMUs, the network, and what goes wrong. */

active proctype source_qemu()
{
end:
    do
#ifndef STOP_FIRST
    :: atomic { sq == RUNS && migrating -> sq = GATED; printf("source       guest stopped\n") }
#endif
    :: atomic { sq == GATED && go_on -> sq = WRITTEN }
    :: atomic { sq == WRITTEN -> sq = PASSED }
    od
}

active proctype destination_qemu()
{
end:
    do
    :: atomic { dq == FILLED -> dq = LOADED_ALL }
#ifdef POSTCOPY
    :: atomic { dq == RUNS && pages_left && sq == PASSED && link ->
        pages_left = false; printf("destination  last page arrived\n") }
#endif
    od
}

/* Both ends find out: by a reset, or by a heartbeat that stays away. */
inline disconnect()
{
    link = false;
    s_broken = s_up;
    if :: dj == PREPARED -> d_broken = true :: else fi;
    do
    :: to_d??[PREPARE] -> to_d??PREPARE(x); to_d!!PREPARE_LATE,x; x = 0
    :: else -> break
    od
}

/* Takes one message away. */
inline lose_one()
{
    if
    :: to_d??PREPARE_LATE(x)
    :: to_d??BYTES(x)
    :: to_d??END(x)
    :: to_d??ASK(x)
    :: to_d??GONE(x)
    :: to_d??FORGET(x)
    :: to_s??READY(x)
    :: to_s??LOADED(x)
    :: to_s??BAD(x)
    :: to_s??OWNER(x)
    :: to_s??COMPLETE(x)
    :: to_s??QUERY(x)
    :: to_s??ABORTED(x)
    fi
}

active proctype world()
{
    atomic { select(x : 0 .. FAULTS); faults = x; left = x; x = 0 };
end:
    do
    /* ---- what comes back ---- */
    :: atomic { !link && s_up && d_up -> link = true; printf("world        connected\n") }
    :: atomic { !s_up -> source_restart() }
    :: atomic { !d_up -> destination_restart() }

    /* ---- a cut connection loses any part of what was under way; the rest may still arrive ---- */
    :: atomic { link && left > 0 -> fault(); disconnect(); printf("world        cut\n") }
    :: atomic { !link && (nempty(to_d) || nempty(to_s)) -> lose_one(); x = 0 }

    /* ---- agents ---- */
    :: atomic { s_up && left > 0 -> fault();
        printf("world        source agent killed\n");
        disconnect(); source_crash() }
    :: atomic { d_up && left > 0 -> fault();
        printf("world        destination agent killed\n");
        disconnect(); destination_crash() }

    /* ---- QEMUs ---- */
    :: atomic { sq != DEAD && left > 0 -> fault();
        printf("world        source QEMU dies\n");
        if
#ifdef POSTCOPY
        :: (!ran_there || pages_left) -> guest_crash = true
#else
        :: !ran_there && (!s_passed || sj == ABORTED) -> guest_crash = true
#endif
        :: else
        fi;
        sq = DEAD; migrating = false }
    :: atomic { migrating && (sq == RUNS || sq == GATED || sq == WRITTEN) && left > 0 ->
        fault();
        printf("world        source QEMU: migration fails\n");
        source_reflex() }
    :: atomic { (dq == INCOMING || dq == FILLED || dq == LOADED_ALL || dq == RUNS) &&
                left > 0 -> fault();
        printf("world        destination QEMU dies\n");
        if :: dq == RUNS -> guest_crash = true :: else fi;
        dq = DEAD; pages_left = false }
    :: atomic { dq == FILLED && left > 0 -> fault();
        printf("world        load fails\n"); dq = DEAD }

    /* ---- hosts: agent, QEMU and /run are gone, the journal stays ---- */
    :: atomic { s_up && left > 0 -> fault(); host_lost = true;
        printf("world        source host lost\n");
        disconnect(); source_crash(); sq = DEAD; migrating = false
#ifdef BREAK_NO_FSYNC_OF_COMMIT
        ; if :: sj == COMMIT -> sj = PREPARED :: else fi
#endif
        }
    :: atomic { d_up && left > 0 -> fault(); host_lost = true;
        printf("world        destination host lost\n");
        disconnect(); destination_crash(); mark = false;
#ifdef BREAK_NO_FSYNC_OF_OWNER
        if :: dj == OWNER -> dj = PREPARED :: else fi;
#endif
        pages_left = false;
        if :: dq != ABSENT -> dq = DEAD :: else fi;
        if :: dj == OWNER -> d_rebooted = true :: else fi }
    od
}
