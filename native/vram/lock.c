// SPDX-License-Identifier: Apache-2.0
// Two locks, both only on slow paths.
//
// `turn` lets one thread of this process into the slow path at a time. It lies in the arena: a child never finds it held.
//
// The ledger's lock is a futex word that all processes of the session share. It names its owner: slot + 1 and the low bits of
// the slot's generation. It is crash tolerant by that name alone:
//   - an owner that died lost its liveness lock in the kernel, so whoever waits for longer than a millisecond asks the kernel,
//     and takes the word over by one compare-and-swap from exactly that value;
//   - the next process in the same slot raises the generation before it does anything else, so a word that a predecessor left
//     is not mistaken for its own;
//   - what the dead owner left half done is one journalled seizure (slot.c); everything else under the lock is one store that
//     either happened or did not, and sums are always taken anew.
// A living owner that was stopped (SIGSTOP, a frozen container) keeps it; we wait LEDGER_PATIENCE_MS and deny. To break in
// would be to change leases under somebody who will go on with what it read: a double grant.
#include "vram/core.h"
#include "vram/ledger.h"

enum { SPINS = 200 };
#define LOOK_AFTER MILLISECOND
/** After a wait that ran out the next ones are short: a program that is denied again and again is not held up each time. */
#define SHORT_PATIENCE (50 * MILLISECOND)
#define PATIENCE (LEDGER_PATIENCE_MS * MILLISECOND)

/* ---- turn: 0 free, 1 taken, 2 taken and waited for ---- */

int turn_take(struct arena *arena, uint64_t *signals) {
  // A handler that runs here could allocate (a deadlock), or leave by longjmp with the ledger locked for everybody.
  uint64_t all = ~UINT64_C(0);
  sys4(SYS_rt_sigprocmask, SIG_BLOCK_, &all, signals, sizeof all);
  uint32_t free = 0;
  if (likely(compare_swap(&arena->turn, &free, 1))) return 0;
  uint64_t end = sys_nanoseconds() + PATIENCE;
  while (exchange_acquire(&arena->turn, 2) != 0) {
    uint64_t now = sys_nanoseconds();
    if (now >= end) {
      sys4(SYS_rt_sigprocmask, SIG_SETMASK_, signals, 0, sizeof *signals);
      return 1;
    }
    sys_futex_wait(&arena->turn, 2, end - now, FUTEX_PRIVATE_);
  }
  return 0;
}

void turn_give(struct arena *arena, uint64_t signals) {
  if (__atomic_exchange_n(&arena->turn, 0, __ATOMIC_RELEASE) == 2) sys_futex_wake(&arena->turn, 1, FUTEX_PRIVATE_);
  sys4(SYS_rt_sigprocmask, SIG_SETMASK_, &signals, 0, sizeof signals);
}

/* ---- the ledger's lock ---- */

/** The word that says that this process owns the lock. Never 0. */
static uint32_t own_word(const struct arena *arena) {
  return (arena->slot + 1) | arena->generation << LOCK_GENERATION_SHIFT;
}

/** 1: whoever `word` names is certainly gone. */
static int owner_gone(struct arena *arena, uint32_t word) {
  uint32_t slot = (word & LOCK_SLOT_MASK) - 1;
  if (slot >= SLOTS) return 1; // nobody can have written that
  uint32_t generation = load_relaxed(&arena->ledger->slots[slot].generation);
  if ((generation ^ word >> LOCK_GENERATION_SHIFT) << LOCK_GENERATION_SHIFT) return 1; // the slot has another process by now
  // Ourselves: `turn` is ours and we do not hold the lock, so the word is a lie.
  if (slot == arena->slot) return 1;
  uint64_t wanted[SLOT_WORDS] = {0}, dead[SLOT_WORDS];
  wanted[slot / 64] = UINT64_C(1) << slot % 64;
  keeper_probe(arena, wanted, dead);
  return (dead[slot / 64] & wanted[slot / 64]) != 0;
}

/**
 * One try. 1: it is ours. `mine` carries the waiters' bit once we have slept: others may sleep behind us, and the unlock that
 * then wakes nobody costs a system call, while one wake-up too few would cost a millisecond.
 */
static int try_lock(uint32_t *word, uint32_t mine) {
  uint32_t free = 0;
  return load_relaxed(word) == 0 && compare_swap(word, &free, mine);
}

/** Waits on the held lock. 1: it is ours, 0: look again. */
static int wait_lock(struct arena *arena, uint32_t *word, uint32_t mine, uint64_t *looked, uint32_t *seen) {
  uint32_t held = load_acquire(word);
  if (held == 0) return 0;
  uint64_t now = sys_nanoseconds();
  if ((held | LOCK_WAITERS) != *seen) {
    *seen = held | LOCK_WAITERS; // another owner: its millisecond begins now
    *looked = now;
  } else if (now - *looked >= LOOK_AFTER) {
    *looked = now;
    if (owner_gone(arena, held)) return compare_swap(word, &held, mine) ? 1 : 0;
  }
  if (!(held & LOCK_WAITERS) && !compare_swap(word, &held, held | LOCK_WAITERS)) return 0;
  sys_futex_wait(word, held | LOCK_WAITERS, LOOK_AFTER, 0);
  return 0;
}

int ledger_lock(struct arena *arena) {
  uint32_t *word = &arena->ledger->header.lock;
  uint32_t mine = own_word(arena);
  int taken = try_lock(word, mine);
  for (int spin = 0; !taken && spin < SPINS; spin++) {
    cpu_relax();
    taken = try_lock(word, mine);
  }
  if (!taken) {
    uint64_t end = sys_nanoseconds() + (arena->stuck ? SHORT_PATIENCE : PATIENCE);
    uint64_t looked = 0;
    uint32_t seen = 0;
    mine |= LOCK_WAITERS;
    while (!(taken = try_lock(word, mine)) && !(taken = wait_lock(arena, word, mine, &looked, &seen)))
      if (sys_nanoseconds() >= end) {
        arena->stuck = 1;
        return 1;
      }
  }
  arena->stuck = 0;
  journal_finish(arena->ledger);
  return 0;
}

void ledger_unlock(struct arena *arena) {
  uint32_t *word = &arena->ledger->header.lock;
  uint32_t held = own_word(arena);
  // Not ours any more: somebody scribbled on it. Whatever stands there now is for its reader to judge.
  while (!compare_swap(word, &held, 0))
    if ((held & ~LOCK_WAITERS) != own_word(arena)) return;
  if (held & LOCK_WAITERS) sys_futex_wake(word, 1, 0);
}
