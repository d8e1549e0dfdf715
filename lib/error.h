/* SPDX-License-Identifier: BSD-3-Clause */
/* Errors: a negative errno for the program, a sentence for the person. */
#ifndef DH_ERROR_H
#define DH_ERROR_H

/*
 * Sets the calling thread's message, which says what to do, and returns -@err, so that a
 * failing path is one statement.
 */
__attribute__((format(printf, 2, 3))) int dh_fail(int err, const char *format, ...);

/* The same, with ": " and the name of errno behind the message. */
__attribute__((format(printf, 1, 2))) int dh_fail_errno(const char *format, ...);

#endif
