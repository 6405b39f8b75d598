// SPDX-License-Identifier: Apache-2.0
// What is done to slots under the ledger's lock. Each function says why a kill -9 at any of its instructions leaves a ledger
// that the next holder of the lock can go on with. (A killed process's stores reach memory in program order or not at all from
// some point on; release stores and read-modify-writes keep the compiler from moving them.)
#include "vram/core.h"

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

uint32_t ledger_top(const struct ledger *ledger) {
  uint32_t top = load_relaxed(&ledger->header.top);
  return top < SLOTS ? top : SLOTS;
}

/**
 * The sum is taken anew each time: a running total would be one more thing that a crash can leave wrong. It reads one line per
 * slot ever in use at once, in order, on a path that is taken once per chunk.
 */
uint64_t pool_left(const struct ledger *ledger, int device, uint64_t limit) {
  uint64_t left = limit;
  for (uint32_t slot = 0, top = ledger_top(ledger); slot < top; slot++)
    left -= least(load_relaxed(&ledger->cells[device][slot].lease), left);
  return left;
}

/**
 * avail -> pool, in four steps: (1) note slot, device, amount and lease in the journal, (2) swap `avail` from the amount to
 * SEIZING, (3) lower the lease, (4) clear SEIZING, (5) clear the journal. The mark tells whether (2) happened:
 *   killed before (2): no mark; the journal is ignored. Nothing was taken.
 *   killed after (2): mark; whoever comes next does (3) to (5) with the numbers of the journal. (3) stores an absolute value,
 *     so doing it twice is doing it once.
 *   killed after (4): no mark, and the lease is lowered: done.
 * The victim meanwhile may free (an addition leaves the mark alone) but finds no credit and waits for the lock, where it or
 * another finishes the step. Killed itself, it is reaped with whatever lease stands there; both outcomes return it whole.
 */
uint64_t slot_seize(struct arena *arena, uint32_t slot, int device) {
  struct ledger *ledger = arena->ledger;
  struct slot_cell *cell = &ledger->cells[device][slot];
  struct journal *journal = &ledger->header.journal;
  uint64_t avail = load_acquire(&cell->avail);
  if (avail & SEIZING) avail = fetch_and(&cell->avail, ~SEIZING) & ~SEIZING; // no seizure is under way: a scribble
  if (avail == 0) return 0;
  uint64_t lease = load_relaxed(&cell->lease);
  for (int attempt = 0; attempt < 1000 && avail && !(avail & SEIZING); attempt++) {
    uint64_t amount = least(avail, lease);
    store_relaxed(&journal->device, (uint32_t)device);
    store_relaxed(&journal->amount, amount);
    store_relaxed(&journal->lease, lease);
    store_release(&journal->slot, slot + 1);
    // The owner allocates or frees at the same time: each miss is a step that it made.
    if (!compare_swap(&cell->avail, &avail, SEIZING)) continue;
    store_release(&cell->lease, lease - amount);
    fetch_and(&cell->avail, ~SEIZING);
    store_release(&journal->slot, 0);
    fetch_add(&ledger->header.stats[device].seizures, 1);
    return amount;
  }
  store_release(&journal->slot, 0);
  return 0;
}

void journal_finish(struct ledger *ledger) {
  struct journal *journal = &ledger->header.journal;
  uint32_t slot = load_acquire(&journal->slot) - 1, device = load_relaxed(&journal->device);
  if (likely(slot == UINT32_MAX)) return;
  if (slot < SLOTS && device < DEVICES) {
    struct slot_cell *cell = &ledger->cells[device][slot];
    uint64_t amount = load_relaxed(&journal->amount), lease = load_relaxed(&journal->lease);
    if (load_acquire(&cell->avail) & SEIZING) {
      if (amount <= lease) store_release(&cell->lease, lease - amount);
      fetch_and(&cell->avail, ~SEIZING);
    }
  }
  store_release(&journal->slot, 0);
}

/**
 * The lease of a dead process returns by one store; before it the bytes are charged, after it they are not, and a second
 * reaper finds 0: exactly once. `avail` goes first, so that nobody can seize from a slot that has no lease.
 */
static void end_leases(struct ledger *ledger, uint32_t slot) {
  for (uint32_t device = 0, devices = control_devices(); device < devices; device++) {
    struct slot_cell *cell = &ledger->cells[device][slot];
    uint64_t lease = load_relaxed(&cell->lease);
    store_release(&cell->avail, 0);
    store_release(&cell->lease, 0);
    if (lease) fetch_add(&ledger->header.stats[device].reclaimed, least(lease, control_limit((int)device)));
  }
}

static int holds(const struct ledger *ledger, uint32_t slot) {
  if (load_relaxed(&ledger->slots[slot].state) != SLOT_FREE) return 1;
  for (uint32_t device = 0, devices = control_devices(); device < devices; device++)
    if (load_relaxed(&ledger->cells[device][slot].lease)) return 1;
  return 0;
}

/**
 * A slot found dead cannot come to life with its old lease: whoever takes it next needs the lock that we hold before it
 * touches a cell, and starts by ending the leases it finds (slot_enter).
 */
uint32_t slots_reap(struct arena *arena) {
  struct ledger *ledger = arena->ledger;
  uint64_t wanted[SLOT_WORDS] = {0}, dead[SLOT_WORDS];
  uint32_t suspects = 0, reaped = 0;
  for (uint32_t slot = 0, top = ledger_top(ledger); slot < top; slot++) {
    if (slot == arena->slot || !holds(ledger, slot)) continue;
    wanted[slot / 64] |= UINT64_C(1) << slot % 64;
    suspects++;
  }
  store_relaxed(&arena->looked, cpu_ticks());
  if (!suspects) return 0;
  keeper_probe(arena, wanted, dead);
  for (uint32_t word = 0; word < SLOT_WORDS; word++)
    for (uint64_t left = dead[word]; left; left &= left - 1) {
      uint32_t slot = word * 64 + (uint32_t)__builtin_ctzll(left);
      end_leases(ledger, slot);
      store_release(&ledger->slots[slot].state, SLOT_FREE);
      reaped++;
    }
  return reaped;
}

/** Killed in here: the liveness lock goes, and the next holder of the lock reaps a slot with no lease, or with the old one. */
void slot_enter(struct arena *arena) {
  struct ledger *ledger = arena->ledger;
  struct slot_identity *identity = &ledger->slots[arena->slot];
  const struct slot_identity *who = &arena->keeper.who;
  end_leases(ledger, arena->slot);
  store_relaxed(&identity->pid, who->pid);
  store_relaxed(&identity->uid, who->uid);
  store_relaxed(&identity->started, who->started);
  store_relaxed(&identity->pid_namespace, who->pid_namespace);
  memcpy(identity->name, who->name, sizeof identity->name);
  store_relaxed(&identity->denials, 0);
  store_relaxed(&identity->refills, 0);
  if (load_relaxed(&ledger->header.top) <= arena->slot) store_release(&ledger->header.top, arena->slot + 1);
  store_release(&identity->state, SLOT_USED);
}
