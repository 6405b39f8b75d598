// SPDX-License-Identifier: Apache-2.0
// The file named by FAKE_CUDA_HEAP: one card for several processes, as the fake driver and the fake NVML see it.
// A process holds a byte lock on its own slot, which the kernel drops when it is gone: its memory returns then.
#ifndef PENSTOCK_FAKE_HEAP_H
#define PENSTOCK_FAKE_HEAP_H
#include <stdbool.h>
#include <stdint.h>

enum { HEAP_SLOTS = 512, HEAP_DEVICES = 16 };
struct heap {
  uint64_t magic;
  uint64_t used[HEAP_DEVICES];
  struct heap_slot {
    uint32_t state, pid; // state: when the process started; 0: free
    uint64_t used[HEAP_DEVICES];
  } slots[HEAP_SLOTS];
};

struct heap *heap_open(const char *path); /* NULL: cannot be used */
void heap_lock(void);
void heap_unlock(void);
/* Both under the lock. */
int heap_claim(struct heap *heap); /* this process's slot; -1: none is free */
void heap_reap(struct heap *heap); /* drops dead processes and sums up anew */
void heap_forget(void);            /* in a forked child: the descriptor and the slot are the parent's */
#endif
