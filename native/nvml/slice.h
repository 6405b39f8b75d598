// SPDX-License-Identifier: Apache-2.0
// What of a card the session may see.
#ifndef PENSTOCK_NVML_SLICE_H
#define PENSTOCK_NVML_SLICE_H
#include "nvml/api.h"

/* Clamps what the real library said of a card's memory. Nothing changes where no quota holds for it. */
void slice_memory(nvmlDevice_t device, unsigned long long *total, unsigned long long *free_bytes, unsigned long long *used);
/* The most that may be said of a card, in bytes; UINT64_MAX: no quota. */
uint64_t slice_limit(nvmlDevice_t device);
/* Is this card cut for this process? Then lists of processes are cut too. */
int slice_is_cut(nvmlDevice_t device);
/* Is it a process of the session? Only numbers of this process's own PID namespace can be compared. */
int slice_has_process(uint32_t pid);
#endif
