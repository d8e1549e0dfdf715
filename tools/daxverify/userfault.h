/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAXVERIFY_USERFAULT_H
#define DAXVERIFY_USERFAULT_H

#include <stddef.h>
#include <stdint.h>

/* The descriptor, or -errno. UFFDIO_REGISTER_MODE_*, UFFD_FEATURE_*; it does not block. */
int dv_userfault_open(void *p, size_t len, uint64_t mode, uint64_t features);

#endif
