/* SPDX-License-Identifier: Apache-2.0 */
/* Every place in both agents where a fault can be injected, in the order a move passes them. */
#ifndef BASE_FAULT_POINTS_H
#define BASE_FAULT_POINTS_H

/*
 * POINT(enum name, name for people, role, phase, can the call there fail, what is about to happen).
 * Numbers count from 1 in this order. New ones stand where they belong, not at the end.
 */
/* clang-format off: two lines each */
#define FAULT_POINTS(POINT)                                                                        \
    POINT(STORE_OPEN, "store-open", "both", "start", 0,                                            \
          "The database was opened; `skip` leaves out its fsyncs.")                                \
    POINT(SOURCE_PLAN, "source-plan", "source", "plan", 1,                                         \
          "The destination is about to be asked for what speaks against the move.")                \
    POINT(SOURCE_PREPARED_BEFORE, "source-prepared-before", "source", "prepare", 1,                \
          "J(PREPARED) is about to be written.")                                                   \
    POINT(SOURCE_PREPARED_AFTER, "source-prepared-after", "source", "prepare", 1,                  \
          "J(PREPARED) is written; PREPARE goes next.")                                            \
    POINT(SOURCE_READY, "source-ready", "source", "prepare", 1,                                    \
          "READY has come: the destination's QEMU waits.")                                         \
    POINT(SOURCE_FOLLOWS, "source-follows", "source", "prepare", 1,                                \
          "The destination's events are followed.")                                                \
    POINT(SOURCE_CONNECT, "source-connect", "source", "copy", 1,                                   \
          "A data connection is about to be made, the first time or anew.")                        \
    POINT(SOURCE_STREAM_BEFORE, "source-stream-before", "source", "copy", 1,                       \
          "The data connection stands; QEMU is about to be told to migrate.")                      \
    POINT(SOURCE_STREAM_STARTED, "source-stream-started", "source", "copy", 1,                     \
          "QEMU's stream flows.")                                                                  \
    POINT(SOURCE_COPY, "source-copy", "source", "copy", 1,                                         \
          "A look at how far the copy is; passed again and again.")                                \
    POINT(SOURCE_POST_COPY_SWITCH, "source-post-copy-switch", "source", "copy", 1,                 \
          "QEMU is about to be told to switch to post-copy.")                                      \
    POINT(SOURCE_PRE_SWITCHOVER, "source-pre-switchover", "source", "handover", 1,                 \
          "QEMU is at pre-switchover: the guest stands.")                                          \
    POINT(SOURCE_CONTINUED, "source-continued", "source", "handover", 1,                           \
          "QEMU was told to go on and sends the last bytes.")                                      \
    POINT(SOURCE_VERIFIED, "source-verified", "source", "handover", 1,                             \
          "Both RAMs were compared and are equal.")                                                \
    POINT(SOURCE_COMMIT_BEFORE, "source-commit-before", "source", "handover", 1,                   \
          "J(COMMIT) is about to be written.")                                                     \
    POINT(SOURCE_COMMIT_AFTER, "source-commit-after", "source", "handover", 0,                     \
          "J(COMMIT) is durable.")                                                                 \
    POINT(SOURCE_END_BEFORE, "source-end-before", "source", "handover", 1,                         \
          "QEMU says completed; END is about to be sent.")                                         \
    POINT(SOURCE_END_AFTER, "source-end-after", "source", "handover", 1,                           \
          "END has arrived; the answer is awaited.")                                               \
    POINT(SOURCE_ASK, "source-ask", "source", "handover", 1,                                       \
          "In doubt: the destination is about to be asked for the outcome.")                       \
    POINT(SOURCE_ANSWERED, "source-answered", "source", "handover", 1,                             \
          "The destination has answered a question for the outcome.")                              \
    POINT(SOURCE_OWNER, "source-owner", "source", "handover", 0,                                   \
          "OWNER is known: the destination runs the VM.")                                          \
    POINT(SOURCE_POST_COPY, "source-post-copy", "source", "handover", 1,                           \
          "Post-copy: the guest runs there, pages are still here; passed again and again.")        \
    POINT(SOURCE_QEMU_END_BEFORE, "source-qemu-end-before", "source", "confirm", 1,                \
          "The source's QEMU is about to be ended.")                                               \
    POINT(SOURCE_QEMU_END_AFTER, "source-qemu-end-after", "source", "confirm", 1,                  \
          "The source's QEMU has ended.")                                                          \
    POINT(SOURCE_DEFINITION_DROP, "source-definition-drop", "source", "confirm", 1,                \
          "The definition is about to be dropped (--undefine-source).")                            \
    POINT(SOURCE_DONE_BEFORE, "source-done-before", "source", "confirm", 1,                        \
          "The source's record is about to be closed.")                                            \
    POINT(SOURCE_DONE_AFTER, "source-done-after", "source", "confirm", 0,                          \
          "The source's record is closed; FORGET goes next.")                                      \
    POINT(SOURCE_FORGOTTEN, "source-forgotten", "source", "confirm", 0,                            \
          "FORGET was answered, or could not be told.")                                            \
    POINT(SOURCE_CLOSING, "source-closing", "source", "confirm", 1,                                \
          "A FORGET that was not answered is about to be repeated.")                               \
    POINT(SOURCE_CANCEL, "source-cancel", "source", "any", 0,                                      \
          "The user's wish to abort was taken or refused.")                                        \
    POINT(SOURCE_ROLLBACK, "source-rollback", "source", "rollback", 0,                             \
          "The move failed: undoing it begins.")                                                   \
    POINT(SOURCE_RESUMED, "source-resumed", "source", "rollback", 0,                               \
          "The guest runs again at the source; the destination is told next.")                     \
    POINT(SOURCE_ABORTED_BEFORE, "source-aborted-before", "source", "rollback", 0,                 \
          "The record of a failed move is about to be closed.")                                    \
    POINT(SOURCE_ABORTED_AFTER, "source-aborted-after", "source", "rollback", 0,                   \
          "The record of a failed move is closed.")                                                \
    POINT(SOURCE_RECOVER, "source-recover", "source", "recovery", 1,                               \
          "After a restart: a record of the source was found.")                                    \
    POINT(DESTINATION_PREPARE, "destination-prepare", "destination", "prepare", 1,                 \
          "PREPARE has come.")                                                                     \
    POINT(DESTINATION_PREPARED_BEFORE, "destination-prepared-before", "destination", "prepare", 1, \
          "J(PREPARED) is about to be written.")                                                   \
    POINT(DESTINATION_PREPARED_AFTER, "destination-prepared-after", "destination", "prepare", 1,   \
          "J(PREPARED) is written; QEMU is started next.")                                         \
    POINT(DESTINATION_QEMU_STARTED, "destination-qemu-started", "destination", "prepare", 1,       \
          "QEMU runs and waits for its orders.")                                                   \
    POINT(DESTINATION_READY, "destination-ready", "destination", "prepare", 1,                     \
          "QEMU waits for the stream; READY is about to be told.")                                 \
    POINT(DESTINATION_ATTACHED, "destination-attached", "destination", "copy", 1,                  \
          "The data connection is here.")                                                          \
    POINT(DESTINATION_BYTES, "destination-bytes", "destination", "copy", 1,                        \
          "A piece of the stream is about to be given to QEMU; passed again and again.")           \
    POINT(DESTINATION_END, "destination-end", "destination", "handover", 1,                        \
          "END is here, and every byte is in QEMU's socket.")                                      \
    POINT(DESTINATION_OWNER_BEFORE, "destination-owner-before", "destination", "handover", 1,      \
          "J(OWNER) is about to be written.")                                                      \
    POINT(DESTINATION_OWNER_AFTER, "destination-owner-after", "destination", "handover", 1,        \
          "J(OWNER) is durable.")                                                                  \
    POINT(DESTINATION_LOADED, "destination-loaded", "destination", "handover", 1,                  \
          "QEMU has loaded everything.")                                                           \
    POINT(DESTINATION_MARK_BEFORE, "destination-mark-before", "destination", "handover", 1,        \
          "The mark is about to be made: `cont` may follow.")                                      \
    POINT(DESTINATION_CONT_BEFORE, "destination-cont-before", "destination", "handover", 1,        \
          "The guest is about to run here: `cont` is sent next.")                                  \
    POINT(DESTINATION_CONT_AFTER, "destination-cont-after", "destination", "handover", 0,          \
          "The guest runs here; nobody was told.")                                                 \
    POINT(DESTINATION_TOLD, "destination-told", "destination", "handover", 0, "OWNER was told.")   \
    POINT(DESTINATION_POST_COPY, "destination-post-copy", "destination", "handover", 0,            \
          "Post-copy: the guest runs here with pages missing; passed again and again.")            \
    POINT(DESTINATION_RECEIVED_BEFORE, "destination-received-before", "destination", "confirm", 1, \
          "The VM is about to become an ordinary one in the database.")                            \
    POINT(DESTINATION_RECEIVED_AFTER, "destination-received-after", "destination", "confirm", 0,   \
          "The VM is an ordinary one.")                                                            \
    POINT(DESTINATION_OUTCOME, "destination-outcome", "destination", "handover", 1,                \
          "The source asks for the outcome.")                                                      \
    POINT(DESTINATION_FORGET_BEFORE, "destination-forget-before", "destination", "confirm", 1,     \
          "FORGET has come: the record is about to be dropped.")                                   \
    POINT(DESTINATION_FORGET_AFTER, "destination-forget-after", "destination", "confirm", 1,       \
          "The record is dropped; FORGET is about to be answered.")                                \
    POINT(DESTINATION_UNDO, "destination-undo", "destination", "rollback", 0,                      \
          "The arrival failed: undoing it begins.")                                                \
    POINT(DESTINATION_ABORTED_BEFORE, "destination-aborted-before", "destination", "rollback", 1,  \
          "QEMU has ended; \"never ran here\" is about to be written.")                            \
    POINT(DESTINATION_ABORTED_AFTER, "destination-aborted-after", "destination", "rollback", 0,    \
          "\"Never ran here\" is durable; ABORTED is told next.")                                  \
    POINT(DESTINATION_RECOVER, "destination-recover", "destination", "recovery", 1,                \
          "After a restart: a record of the destination was found.")
/* clang-format on */

#endif
