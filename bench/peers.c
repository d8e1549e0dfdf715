/* SPDX-License-Identifier: BSD-3-Clause */
#include "peer.h"

const struct peer *const peers[] = {
	&daxheap_peer,
#ifdef HAVE_PMEMOBJ
	&pmemobj_atomic_peer,
	&pmemobj_action_peer,
	&pmemobj_tx_peer,
#endif
#ifdef HAVE_MEMKIND
	&memkind_peer,
#endif
	&jemalloc_peer,
	&mimalloc_peer,
	&glibc_peer,
	&hardware_peer,
	0,
};
