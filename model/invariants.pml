/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold: checks where a guest starts to run or is ended, and the judge at the end. */

/* Called after each step that lets a guest execute at the source. */
inline check_source_runs()
{
    if
    :: dq == RUNS -> violated(I1_two_running)
    :: dq != RUNS && ran_there -> violated(I1_stale_copy_resumed)
    :: else
    fi
}

/* Called after each step that lets a guest execute at the destination. */
inline check_destination_runs()
{
    if
    :: sq == RUNS -> violated(I1_two_running)
    :: sq != RUNS && wrong_bytes -> violated(I3_wrong_bytes_run)
    :: else
    fi
}

/* Called before the source agent ends its QEMU. */
inline check_source_ends()
{
    if
    :: !ran_there && !guest_crash && !host_lost && faults_so_far <= 1 ->
        violated(I2_only_copy_ended)
#ifndef NO_MARK
    /* more than was asked: whatever happens, short of the instants between mark and `cont` */
    :: !ran_there && !guest_crash && !host_lost && !mark -> violated(I2_only_copy_ended)
#endif
    :: pages_left && dq == RUNS && sq != DEAD -> violated(I2_only_copy_ended)
    :: else
    fi
}

/* Called before a guest that is down is started afresh: its memory is gone for good. */
inline check_cold_start()
{
    if
    :: !guest_crash && !host_lost && faults_so_far <= 1 -> violated(I2_guest_lost)
    :: else
    fi
}

#ifdef NO_TOMBSTONES
#define forgotten (dj == NONE)
#else
#define forgotten false
#endif

/* Both agents know the same outcome, act on it, and nothing is left over. */
#define moved                                                                                      \
    (sj == DONE && sq == DEAD &&                                                                   \
     (forgotten || (dj == OWNER && dj_epoch == sj_epoch && (dq == RUNS || dq == DEAD))))
#define stayed                                                                                     \
    ((sj == ABORTED || sj == NONE) && dj != PREPARED && dj != OWNER && (sq == RUNS || sq == DEAD) && \
     (dq == ABSENT || dq == DEAD))
#define settled (s_up && d_up && (moved || stayed))

/* Runs when nothing else can: the network is back, both agents are up, everybody has done all
 * that it can do. */
#ifndef NO_JUDGE
active proctype judge()
{
end:
    timeout -> atomic {
        if
        :: !settled -> violated(L_outcome_unknown)
        :: else
        fi;
        if
        :: faults <= 1 && !host_lost && !guest_crash && !(sq == RUNS || dq == RUNS) ->
            violated(I2_guest_lost)
        :: else
        fi;
        if
        :: clean && sj != DONE -> violated(I4_retry_failed)
        :: else
        fi
    }
}
#endif

#ifdef LIVENESS
ltl ends { <>[] settled }
#endif
