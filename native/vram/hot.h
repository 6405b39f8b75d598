// SPDX-License-Identifier: Apache-2.0
// The ordinary reservation: one compare-and-swap on this process's own line. Inline in the hook that programs call often.
#ifndef PENSTOCK_VRAM_HOT_H
#define PENSTOCK_VRAM_HOT_H

#include "vram/core.h"

/** avail -= bytes, if it is there. */
static inline int take(struct slot_cell *cell, uint64_t bytes) {
  uint64_t avail = load_relaxed(&cell->avail);
  // The mark SEIZING is the sign bit: credit that is being taken back counts as none.
  while (likely(avail < SEIZING && avail >= bytes))
    if (likely(compare_swap(&cell->avail, &avail, avail - bytes))) return 0;
  return 1;
}

/** 0: granted. 1: ask ledger_reserve(). `device` is below DEVICES. */
static inline int reserve_hot(int device, uint64_t bytes) {
  struct slot_cell *cell = load_acquire(&ledger_arena.cells[device]);
  return unlikely(cell == NULL || control_gate(ledger_control) != load_relaxed(&ledger_arena.gate)) || unlikely(take(cell, bytes));
}

/** 0: done. 1: ask ledger_release(). */
static inline int release_hot(int device, uint64_t bytes) {
  struct slot_cell *cell = load_acquire(&ledger_arena.cells[device]);
  if (unlikely(cell == NULL)) return 1;
  fetch_add(&cell->avail, bytes); // beside a SEIZING mark as well as without one
  return 0;
}

#endif
