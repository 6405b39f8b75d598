// SPDX-License-Identifier: Apache-2.0
// Reserving and releasing. Under the ledger's lock: sum of leases <= limit, always; a process uses lease - avail of its own.
// The limit therefore holds under any interleaving, and nothing that a process does alone, dying included, can break it.
//
// Fast: one compare-and-swap on this process's own line; no other line is touched, no system call is made.
// Slow: no slot yet, credit short, the control page changed. Nobody is refused before (1) the pool, (2) the idle credit of
// every neighbour and (3) the leases of dead processes have been asked.
#include "vram/ledger.h"
#include "vram/core.h"
#include "vram/hot.h"

/** As long as a pass finds nothing twice in a row, what is asked for is not there. See refill(). */
enum { EMPTY_PASSES = 2, PASSES = 64, ATTEMPTS = 1000 };
/** No state and epoch that a control page in use can show. */
#define GATE_SHUT UINT64_MAX

static const char *const refusals[] = {
  [REFUSED_NOT] = "",
  [REFUSED_OPEN] = "the ledger cannot be opened",
  [REFUSED_LEDGER] = "the ledger is not this session's, or of another version",
  [REFUSED_LOCK] = "the ledger's file system has no locks that work",
  [REFUSED_FULL] = "all slots for processes are taken",
  [REFUSED_MEMORY] = "there is no memory or disk space for the ledger",
  [REFUSED_WAIT] = "the ledger was locked for too long",
};

static int in_use(int device) { return device >= 0 && (uint32_t)device < control_devices(); }

int register_here(struct arena *arena) {
  if (arena->registered) return 0;
  int refusal = keeper_claim(arena);
  if (!refusal) {
    arena->ledger = arena->keeper.ledger;
    arena->slot = (uint32_t)arena->keeper.slot;
    // Before anything else: from here on a lock word that our predecessor left behind is not ours.
    arena->generation = fetch_add(&arena->ledger->slots[arena->slot].generation, 1) + 1;
    if (ledger_lock(arena)) refusal = REFUSED_WAIT;
  }
  if (refusal) {
    ledger_complain(refusals[refusal]);
    return 1;
  }
  slot_enter(arena);
  slots_reap(arena);
  ledger_unlock(arena);
  store_relaxed(&arena->gate, GATE_SHUT);
  if (!arena_unwiped)
    for (uint32_t device = 0, devices = control_devices(); device < devices; device++)
      store_release(&arena->cells[device], &arena->ledger->cells[device][arena->slot]);
  store_release(&arena->registered, 1);
  return 0;
}

int ledger_register(void) {
  if (!ledger_active()) return 0;
  if (!ledger_control) return 1;
  struct arena *arena = arena_get();
  if (load_acquire(&arena->registered)) return 0;
  uint64_t signals;
  if (turn_take(arena, &signals)) return 1;
  int result = register_here(arena);
  turn_give(arena, signals);
  return result;
}

/* ---- under the lock ---- */

/** Our own line, if somebody scribbled on it: what we know bounds what it may say. Errors fall on our own side. */
static void mend(struct arena *arena, int device, struct slot_cell *cell) {
  uint64_t lease = load_relaxed(&cell->lease);
  if (lease > arena->own_lease[device]) store_release(&cell->lease, lease = arena->own_lease[device]);
  arena->own_lease[device] = lease;
  uint64_t avail = load_acquire(&cell->avail);
  // Only the holder of the lock marks; that is us.
  if (avail & SEIZING) avail = fetch_and(&cell->avail, ~SEIZING) & ~SEIZING;
  for (int attempt = 0; attempt < ATTEMPTS && avail > lease; attempt++)
    if (compare_swap(&cell->avail, &avail, 0)) break;
}

/** The control page changed: all own credit goes back, so that a lowered limit holds as soon as it can. */
static void look_again(struct arena *arena, uint64_t gate) {
  for (uint32_t device = 0, devices = control_devices(); device < devices; device++) {
    slot_seize(arena, arena->slot, (int)device);
    arena->own_lease[device] = load_relaxed(&arena->ledger->cells[device][arena->slot].lease);
    // More is lent than the new limit: what is freed from here on is no credit to use again, so we look at each allocation.
    if (AMPLE - pool_left(arena->ledger, (int)device, AMPLE) > control_limit((int)device)) gate = GATE_SHUT;
  }
  map_recap(arena);
  store_release(&arena->gate, gate);
}

/** How much to fetch: whole chunks if the pool has them, else just what is missing. */
static uint64_t portion(uint64_t missing, uint64_t chunk, uint64_t left) {
  if (!chunk || missing > AMPLE - chunk) return missing;
  uint64_t chunks = (missing + chunk - 1) / chunk * chunk;
  return chunks <= left ? chunks : missing;
}

/**
 * From own credit and the pool. 0: granted. Else how many bytes are missing. Other threads allocate and free on the same line
 * meanwhile. Killed after the lease was raised: the slot is dead, and the lease goes back whole.
 */
static uint64_t take_from_pool(struct arena *arena, int device, struct slot_cell *cell, uint64_t bytes) {
  uint64_t limit = control_limit(device);
  uint64_t avail = load_acquire(&cell->avail);
  for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
    if (avail >= bytes) {
      if (compare_swap(&cell->avail, &avail, avail - bytes)) return 0;
      continue;
    }
    uint64_t missing = bytes - avail, left = pool_left(arena->ledger, device, limit);
    if (left < missing) return missing - left;
    uint64_t more = portion(missing, control_chunk(device), left);
    arena->own_lease[device] = load_relaxed(&cell->lease) + more;
    store_release(&cell->lease, arena->own_lease[device]);
    store_relaxed(&arena->ledger->header.stats[device].leased, limit - left + more);
    fetch_add(&arena->ledger->header.stats[device].refills, 1);
    fetch_add(&arena->ledger->slots[arena->slot].refills, 1);
    if (compare_swap(&cell->avail, &avail, avail + more - bytes)) return 0;
    avail = fetch_add(&cell->avail, more) + more;
  }
  return bytes;
}

static uint64_t seize_from_neighbours(struct arena *arena, int device, uint64_t missing) {
  uint64_t found = 0;
  uint32_t top = ledger_top(arena->ledger);
  for (uint32_t step = 1; step <= top && found < missing; step++) {
    uint32_t slot = (arena->slot + step) % top; // each begins behind itself, so that not all empty the first slot
    if (slot != arena->slot) found += slot_seize(arena, slot, device);
  }
  return found;
}

/**
 * 0: granted, 1: denied. A pass reads the slots one after another while their owners go on: credit could be freed behind it
 * and used up ahead of it, and so be missed though there was enough at every moment. So a denial takes two passes that found
 * nothing at all; what is seized stays ours to give, so passes that find something come nearer to the end.
 */
static int refill(struct arena *arena, int device, uint64_t bytes) {
  uint64_t gate = control_gate(ledger_control);
  if (gate != arena->gate) look_again(arena, gate_open(gate) ? gate : GATE_SHUT);
  if (!gate_open(gate)) return 1;
  struct slot_cell *cell = &arena->ledger->cells[device][arena->slot];
  mend(arena, device, cell);
  for (int pass = 0, empty = 0; pass < PASSES && empty < EMPTY_PASSES; pass++) {
    uint64_t missing = take_from_pool(arena, device, cell, bytes);
    if (!missing) return 0;
    int found = seize_from_neighbours(arena, device, missing) != 0;
    if (!found || pass == PASSES / 2) found |= slots_reap(arena) != 0;
    empty = found ? 0 : empty + 1;
  }
  return 1;
}

static void count_denial(struct arena *arena, int device) {
  if (!load_acquire(&arena->registered)) return;
  fetch_add(&arena->ledger->header.stats[device].denials, 1);
  fetch_add(&arena->ledger->slots[arena->slot].denials, 1);
}

static __attribute__((noinline)) int reserve_slow(int device, uint64_t bytes, int counted) {
  if (!ledger_active() || device == LEDGER_FREE || bytes == 0) return 0;
  if (!ledger_control) ledger_complain(NULL);
  if (!ledger_control || !in_use(device)) return 1;
  struct arena *arena = arena_get();
  if (bytes > control_limit(device)) {
    if (counted) count_denial(arena, device);
    return 1;
  }
  uint64_t signals;
  if (turn_take(arena, &signals)) return 1;
  int denied = register_here(arena);
  if (!denied) {
    struct slot_cell *cell = &arena->ledger->cells[device][arena->slot];
    int current = control_gate(ledger_control) == arena->gate;
    // Another thread may have fetched credit while we waited for our turn.
    denied = !current || take(cell, bytes);
    if (denied && !ledger_lock(arena)) {
      denied = refill(arena, device, bytes);
      ledger_unlock(arena);
    }
    if (denied && counted) count_denial(arena, device);
  }
  turn_give(arena, signals);
  return denied;
}

/* ---- what hooks call ---- */

int ledger_reserve(int device, uint64_t bytes) {
  return likely((uint32_t)device < DEVICES) && likely(!reserve_hot(device, bytes)) ? 0 : reserve_slow(device, bytes, 1);
}

int ledger_try(int device, uint64_t bytes) {
  return likely((uint32_t)device < DEVICES) && likely(!reserve_hot(device, bytes)) ? 0 : reserve_slow(device, bytes, 0);
}

void ledger_release(int device, uint64_t bytes) {
  if (unlikely((uint32_t)device >= DEVICES)) return;
  struct slot_cell *cell = load_acquire(&ledger_arena.cells[device]);
  if (unlikely(cell == NULL)) {
    // Without a slot there is nothing to give back: a child after fork that frees what its parent reserved.
    if (!arena_unwiped || !arena_get()->registered || !in_use(device)) return;
    cell = &ledger_arena.ledger->cells[device][ledger_arena.slot];
  }
  // Adds beside a SEIZING mark as well as without one.
  fetch_add(&cell->avail, bytes);
}

static int same_uuid(const uint8_t *a, const uint8_t *b) {
  for (int i = 0; i < 16; i++)
    if (a[i] != b[i]) return 0;
  return 1;
}

int ledger_device(const uint8_t uuid[16], int ordinal) {
  if (!ledger_active()) return LEDGER_FREE;
  if (!ledger_control) return LEDGER_UNLISTED;
  if (ledger_flags() & CONTROL_FLAG_BY_CARD) return uuid ? card_index(uuid) : LEDGER_UNLISTED;
  const struct control_device *devices = ledger_control->devices;
  int count = (int)control_devices();
  for (int i = 0; uuid && i < count; i++)
    if (devices[i].ordinal == BY_UUID && same_uuid(devices[i].uuid, uuid)) return i;
  for (int i = 0; ordinal >= 0 && i < count; i++)
    if (devices[i].ordinal == ordinal) return i;
  return ledger_flags() & CONTROL_FLAG_UNLISTED_UNLIMITED ? LEDGER_FREE : LEDGER_UNLISTED;
}

uint32_t ledger_flags(void) { return ledger_control ? load_relaxed(&ledger_control->flags) : 0; }

void ledger_unaccounted(int device, int kind, uint64_t bytes) {
  if (kind < 0 || (uint32_t)kind >= UNACCOUNTED_KINDS || !ledger_active() || !ledger_control || !in_use(device)) return;
  struct arena *arena = arena_get();
  if (!load_acquire(&arena->registered) && ledger_register()) return;
  struct unaccounted *counter = &arena->ledger->header.stats[device].unaccounted[kind];
  fetch_add(&counter->bytes, bytes);
  fetch_add(&counter->calls, 1);
}
