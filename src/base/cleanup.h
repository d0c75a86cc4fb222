/* SPDX-License-Identifier: Apache-2.0 */
/* Scope cleanup: a variable declared with one of these is released when it goes out of scope. */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(function) __attribute__((cleanup(function)))

/* Hands the value over to the caller and leaves an empty pointer behind. */
#define STEAL(variable)                                                                            \
    ({                                                                                             \
        __typeof__(variable) stolen_ = (variable);                                                 \
        (variable) = NULL;                                                                         \
        stolen_;                                                                                   \
    })

/* The same for file descriptors, whose empty value is -1. */
#define STEAL_FD(variable)                                                                         \
    ({                                                                                             \
        int stolen_fd_ = (variable);                                                               \
        (variable) = -1;                                                                           \
        stolen_fd_;                                                                                \
    })

static inline void cleanup_free_function(void *pointer)
{
    free(*(void **)pointer);
}

static inline void cleanup_close_function(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void cleanup_unlock_function(pthread_mutex_t **mutex)
{
    if (*mutex)
        pthread_mutex_unlock(*mutex);
}

static inline pthread_mutex_t *cleanup_lock(pthread_mutex_t *mutex)
{
    pthread_mutex_lock(mutex);
    return mutex;
}

#define CLEANUP_FREE  CLEANUP(cleanup_free_function)
#define CLEANUP_CLOSE CLEANUP(cleanup_close_function)

/* Holds `mutex` until the end of the enclosing scope. */
#define LOCK_SCOPE(mutex)                                                                          \
    CLEANUP(cleanup_unlock_function)                                                               \
    __attribute__((unused)) pthread_mutex_t *scope_lock_ = cleanup_lock(mutex)

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

#endif
