/* SPDX-License-Identifier: Apache-2.0 */
/* What every unit test includes: cmocka with its own prerequisites. */
#ifndef BASE_TEST_H
#define BASE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Fails the test with the error's own words when a call that must succeed did not. */
#define assert_ok(call, err)                                                                       \
    do {                                                                                           \
        if ((call) < 0)                                                                            \
            fail_msg("%s: %s", #call, (err) ? (err)->message : "no error set");                    \
    } while (0)

#endif
