// SPDX-License-Identifier: Apache-2.0
// How full the session is. Reads the lines of all slots; a process without a slot (nvidia-smi, a program before its first
// allocation) reads by a mapping that it cannot write, and takes no slot for it.
#include "vram/core.h"
#include "vram/ledger.h"

/** Dead neighbours are looked for at most this often when nobody runs short: about a tenth of a second. */
#define LOOK_TICKS (UINT64_C(1) << 28)

static int marked(const uint64_t set[SLOT_WORDS], uint32_t slot) { return (set[slot / 64] >> slot % 64 & 1) != 0; }

/** Bytes in use by slots that are not in `dead`; *others: a slot other than `own` has a lease. */
static uint64_t used_by(const struct ledger *ledger, int device, const uint64_t dead[SLOT_WORDS], uint32_t own, int *others) {
  uint64_t used = 0, limit = control_limit(device);
  for (uint32_t slot = 0, top = ledger_top(ledger); slot < top; slot++) {
    const struct slot_cell *cell = &ledger->cells[device][slot];
    uint64_t avail = load_acquire(&cell->avail) & ~SEIZING, lease = load_relaxed(&cell->lease);
    if (lease && slot != own) *others = 1;
    if (lease <= avail || (dead && marked(dead, slot))) continue;
    uint64_t bytes = lease - avail;
    used += bytes < limit - used ? bytes : limit - used;
  }
  return used;
}

static void reap_now(struct arena *arena) {
  uint64_t signals;
  if (turn_take(arena, &signals)) return;
  if (!ledger_lock(arena)) {
    slots_reap(arena);
    ledger_unlock(arena);
  }
  turn_give(arena, signals);
}

static const struct ledger *view_get(struct arena *arena) {
  const struct ledger *view = load_acquire(&arena->view);
  if (view) return view;
  long fd = sys_open(ledger_path(), O_RDONLY_ | O_NONBLOCK_);
  if (fd < 0) return NULL;
  struct ledger *mapped = file_is(fd, LEDGER_SIZE) ? NULL : sys_mmap(LEDGER_SIZE, PROT_READ_, MAP_SHARED_, fd);
  sys_close(fd);
  if (!mapped) return NULL;
  sys_madvise(mapped, LEDGER_SIZE, MADV_DONTFORK_);
  const struct ledger *none = NULL;
  if (!ledger_is_ours(mapped) || !compare_swap(&arena->view, &none, mapped)) {
    sys_munmap(mapped, LEDGER_SIZE);
    return none;
  }
  return mapped;
}

/** For a process without a slot: the dead are left out, not reaped. */
static uint64_t used_seen(struct arena *arena, int device) {
  const struct ledger *view = view_get(arena);
  if (!view) return control_limit(device); // nothing is free for whoever cannot see the ledger
  uint64_t dead[SLOT_WORDS], wanted[SLOT_WORDS] = {0};
  for (uint32_t slot = 0, top = ledger_top(view); slot < top; slot++)
    if (load_relaxed(&view->cells[device][slot].lease)) wanted[slot / 64] |= UINT64_C(1) << slot % 64;
  probe_once(wanted, dead);
  int others;
  return used_by(view, device, dead, SLOTS, &others);
}

void ledger_report(int device, uint64_t *limit, uint64_t *used) {
  *limit = *used = 0;
  if (!ledger_active() || device == LEDGER_FREE) *limit = UNLIMITED;
  if (*limit || !ledger_control || device < 0 || (uint32_t)device >= control_devices()) return;
  uint64_t bound = control_limit(device);
  *limit = bound < AMPLE ? bound : UNLIMITED;
  struct arena *arena = arena_get();
  if (!load_acquire(&arena->registered)) {
    *used = used_seen(arena, device);
    return;
  }
  int others = 0;
  *used = used_by(arena->ledger, device, NULL, arena->slot, &others);
  if (!others || cpu_ticks() - load_relaxed(&arena->looked) < LOOK_TICKS) return;
  reap_now(arena);
  *used = used_by(arena->ledger, device, NULL, arena->slot, &others);
}
