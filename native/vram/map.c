// SPDX-License-Identifier: Apache-2.0
// What this process holds, in 64 shards of open addressing (linear probing, backward-shift deletion: no tombstones, so the
// speed does not depend on history). Tables are mappings of their own: malloc could be the program's, with hooks that allocate.
//
// Each shard also counts the bytes it holds per device against a share of the control page's limit, under the lock that it
// takes anyway. So a process never holds more than the limit even if the ledger page tells it lies, at no cost to the fast
// path: only a shard whose share is short takes all locks, counts exactly, and deals out anew.
#include "vram/map.h"
#include "vram/core.h"
#include "vram/ledger.h"

enum { FIRST_BITS = 7, LAST_BITS = 26, YIELD_AFTER = 256, YIELDS_PER_LOOK = 256 };
#define PATIENCE (LEDGER_PATIENCE_MS * MILLISECOND)

static inline uint64_t hash(uint64_t key, uint32_t kind) {
  return (key ^ (uint64_t)kind << 56) * UINT64_C(0x9e3779b97f4a7c15);
}
/** The shard by the top bits, the place by those below. */
static inline uint32_t shard_of(uint64_t hashed) { return (uint32_t)(hashed >> 58); }
static inline uint32_t place_of(uint64_t hashed, uint32_t bits) { return (uint32_t)(hashed << 6 >> (64 - bits)); }

static __attribute__((noinline)) int lock_slowly(uint32_t *lock) {
  uint64_t end = 0;
  for (uint32_t spin = 1;; spin++) {
    if (load_relaxed(lock) == 0 && exchange_acquire(lock, 1) == 0) return 0;
    cpu_relax();
    if (spin % YIELD_AFTER) continue;
    sys1(SYS_sched_yield, 0);
    if (spin / YIELD_AFTER % YIELDS_PER_LOOK) continue;
    // Only a handler that interrupted the holder on its own thread can wait this long; CUDA forbids calls from there.
    uint64_t now = sys_nanoseconds();
    if (!end) end = now + PATIENCE;
    if (now >= end) return 1;
  }
}

static inline int lock(struct shard *shard) {
  return likely(exchange_acquire(&shard->lock, 1) == 0) ? 0 : lock_slowly(&shard->lock);
}
static inline void unlock(struct shard *shard) { store_release(&shard->lock, 0); }

/* ---- places ---- */

_Static_assert(sizeof(struct place) == sizeof(struct map_entry), "an entry is a place");

static inline uint32_t kind_of(const struct place *place) { return (uint16_t)place->about; }
static inline int device_of(const struct place *place) { return (int16_t)(place->about >> 16); }
static inline uint64_t about(uint32_t kind, int device, uint32_t count) {
  return (uint64_t)kind | (uint64_t)(uint16_t)device << 16 | (uint64_t)count << 32;
}
static inline struct place place_from(const struct map_entry *entry) {
  struct place place = {entry->key, entry->owner, entry->bytes, about(entry->kind, entry->device, entry->count)};
  return place;
}
static inline void place_to(const struct place *place, struct map_entry *out) {
  out->key = place->key;
  out->owner = place->owner;
  out->bytes = place->bytes;
  out->kind = (uint16_t)place->about;
  out->device = (int16_t)(place->about >> 16);
  out->count = (uint32_t)(place->about >> 32);
}
/** Word by word: a wide load of words that were just stored would wait for them to leave the store buffer. */
static inline void place_copy(struct place *to, const struct place *from) {
  uint64_t key = from->key, owner = from->owner, bytes = from->bytes, about = from->about;
  __asm__("" : "+r"(key), "+r"(owner), "+r"(bytes), "+r"(about));
  to->key = key;
  to->owner = owner;
  to->bytes = bytes;
  to->about = about;
}

/* ---- one shard, locked ---- */

/** The place of a key, or the empty one where it would go: there is one, tables are at most three quarters full. */
static inline struct place *seek(const struct shard *shard, uint64_t hashed, uint64_t key, uint32_t kind) {
  uint32_t mask = (1U << shard->bits) - 1;
  for (uint32_t at = place_of(hashed, shard->bits);; at = (at + 1) & mask) {
    struct place *place = &shard->table[at];
    uint32_t found = kind_of(place);
    if ((place->key == key && found == kind) || found == 0) return place;
  }
}

static inline struct place *find(const struct shard *shard, uint64_t hashed, uint64_t key, uint32_t kind) {
  if (unlikely(!shard->table)) return NULL;
  struct place *place = seek(shard, hashed, key, kind);
  return likely(kind_of(place)) ? place : NULL;
}

static __attribute__((noinline)) int grow(struct shard *shard) {
  uint32_t bits = shard->table ? shard->bits + 1 : FIRST_BITS;
  if (bits > LAST_BITS) return 1;
  uint64_t size = sizeof(struct place) << bits;
  struct place *before = shard->table;
  uint32_t places = before ? 1U << shard->bits : 0;
  struct place *table = sys_mmap(size, PROT_READ_ | PROT_WRITE_, MAP_PRIVATE_ | MAP_ANONYMOUS_, -1);
  if (!table) return 1;
  // A child starts with an empty map and would only carry these along, unless its kernel does not wipe the arena.
  if (!arena_unwiped) sys_madvise(table, size, MADV_DONTFORK_);
  shard->table = table;
  shard->bits = bits;
  for (uint32_t i = 0; i < places; i++) {
    if (!kind_of(&before[i])) continue;
    uint64_t hashed = hash(before[i].key, kind_of(&before[i]));
    place_copy(seek(shard, hashed, before[i].key, kind_of(&before[i])), &before[i]);
  }
  if (before) sys_munmap(before, (uint64_t)places * sizeof *before);
  return 0;
}

/** Closes the hole that taking out a place leaves: each later one of the run moves up unless that is before its home. */
static inline void take_out(struct shard *shard, struct place *place) {
  uint32_t mask = (1U << shard->bits) - 1, hole = (uint32_t)(place - shard->table);
  int device = device_of(place);
  if (likely(device >= 0)) shard->account[device].held -= place->bytes;
  shard->count--;
  for (uint32_t at = (hole + 1) & mask; unlikely(kind_of(&shard->table[at])); at = (at + 1) & mask) {
    uint32_t home = place_of(hash(shard->table[at].key, kind_of(&shard->table[at])), shard->bits);
    if (((at - home) & mask) < ((at - hole) & mask)) continue;
    place_copy(&shard->table[hole], &shard->table[at]);
    hole = at;
  }
  shard->table[hole].about = 0;
}

/* ---- the share of the limit ---- */

static inline int fits(const struct shard *shard, int device, uint64_t bytes) {
  return device < 0 || shard->account[device].held + bytes <= shard->account[device].cap;
}

/** Locks of all shards, lowest first; nobody else ever waits for a second one. */
static int lock_all(struct arena *arena) {
  for (uint32_t i = 0; i < SHARDS; i++)
    if (lock(&arena->shards[i])) {
      while (i--) unlock(&arena->shards[i]);
      return 1;
    }
  return 0;
}

static void unlock_all(struct arena *arena) {
  for (uint32_t i = 0; i < SHARDS; i++) unlock(&arena->shards[i]);
}

/** With all locks: deals what is left of the limit out, after `bytes` for `shard`. 0, or 1 when they are not left. */
static int deal(struct arena *arena, struct shard *shard, int device, uint64_t bytes) {
  uint64_t limit = control_limit(device), held = 0;
  for (uint32_t i = 0; i < SHARDS; i++) held += arena->shards[i].account[device].held;
  if (held > limit || bytes > limit - held) return 1;
  uint64_t share = (limit - held - bytes) / SHARDS;
  for (uint32_t i = 0; i < SHARDS; i++)
    arena->shards[i].account[device].cap = arena->shards[i].account[device].held + share;
  shard->account[device].cap += bytes;
  return 0;
}

void map_recap(struct arena *arena) {
  if (lock_all(arena)) return;
  for (uint32_t i = 0; i < SHARDS; i++)
    for (uint32_t device = 0; device < DEVICES; device++) arena->shards[i].account[device].cap = 0;
  unlock_all(arena);
}

/* ---- inserting ---- */

/** Puts it in, whatever the limit; what it replaces is in *stale (kind 0: nothing). 1: no memory. */
static inline int insert_locked(struct shard *shard, const struct place *entry, uint64_t hashed, struct place *stale) {
  if (unlikely(!shard->table || (shard->count + 1) * 4 > 3U << shard->bits) && grow(shard)) return 1;
  struct place *place = seek(shard, hashed, entry->key, kind_of(entry));
  int device = device_of(entry);
  if (unlikely(kind_of(place))) {
    int before = device_of(place);
    *stale = *place;
    if (before >= 0) shard->account[before].held -= place->bytes;
  } else {
    shard->count++;
  }
  place_copy(place, entry);
  if (likely(device >= 0)) shard->account[device].held += entry->bytes;
  return 0;
}

/** `forced`: it was in before. */
static __attribute__((noinline)) int insert_with_all(struct arena *arena, struct shard *shard, const struct place *entry,
                                                     uint64_t hashed, struct place *stale, int forced) {
  if (lock_all(arena)) return 1;
  int refused = deal(arena, shard, device_of(entry), entry->bytes) && !forced;
  if (!refused) refused = insert_locked(shard, entry, hashed, stale);
  unlock_all(arena);
  return refused;
}

static inline int insert(const struct place *entry, int forced) {
  struct arena *arena = arena_get();
  uint64_t hashed = hash(entry->key, kind_of(entry));
  struct shard *shard = &arena->shards[shard_of(hashed)];
  int device = device_of(entry);
  struct place stale;
  stale.about = 0;
  if (unlikely(kind_of(entry) == 0 || entry->bytes > MAP_BYTES_MAX || device >= (int)DEVICES || lock(shard))) return 1;
  int result;
  if (likely(fits(shard, device, entry->bytes))) {
    result = insert_locked(shard, entry, hashed, &stale);
    unlock(shard);
  } else {
    unlock(shard);
    result = insert_with_all(arena, shard, entry, hashed, &stale, forced);
  }
  if (unlikely(kind_of(&stale) && device_of(&stale) >= 0)) ledger_release(device_of(&stale), stale.bytes);
  return result;
}

int map_insert_entry(const struct map_entry *entry) {
  struct place place = place_from(entry);
  return insert(&place, 0);
}

int map_insert(uint64_t key, int kind, int device, uint64_t bytes) {
  struct place place = {key, 0, bytes, about((uint16_t)kind, device, 1)};
  return insert(&place, 0);
}

void map_restore(const struct map_entry *entry) {
  struct place place = place_from(entry);
  insert(&place, 1);
}

/* ---- looking up ---- */

/** The shard of a key, locked; NULL: there is no map, or the lock did not come. */
static inline struct shard *shard_get(uint64_t hashed) {
  struct shard *shard = &arena_get()->shards[shard_of(hashed)];
  return likely(!lock(shard)) ? shard : NULL;
}

int map_remove(uint64_t key, int kind, struct map_entry *out) {
  uint64_t hashed = hash(key, (uint32_t)kind);
  struct shard *shard = shard_get(hashed);
  if (unlikely(!shard)) return 0;
  struct place *entry = find(shard, hashed, key, (uint32_t)kind);
  if (likely(entry != NULL)) {
    if (out) place_to(entry, out);
    take_out(shard, entry);
  }
  unlock(shard);
  return entry != NULL;
}

int map_find(uint64_t key, int kind, struct map_entry *out) {
  uint64_t hashed = hash(key, (uint32_t)kind);
  struct shard *shard = shard_get(hashed);
  if (unlikely(!shard)) return 0;
  const struct place *entry = find(shard, hashed, key, (uint32_t)kind);
  if (entry && out) place_to(entry, out);
  unlock(shard);
  return entry != NULL;
}

int map_count(uint64_t key, int kind, int32_t delta, struct map_entry *out) {
  uint64_t hashed = hash(key, (uint32_t)kind);
  struct shard *shard = shard_get(hashed);
  if (unlikely(!shard)) return 0;
  struct place *entry = find(shard, hashed, key, (uint32_t)kind);
  if (entry) {
    int64_t sum = (int64_t)(entry->about >> 32) + delta;
    uint32_t count = sum < 0 ? 0 : (uint32_t)sum;
    entry->about = about(kind_of(entry), device_of(entry), count);
    if (out) place_to(entry, out);
    if (count == 0) take_out(shard, entry);
  }
  unlock(shard);
  return entry != NULL;
}

int map_resize(uint64_t key, int kind, uint64_t bytes, uint64_t *before) {
  if (bytes > MAP_BYTES_MAX) return 1;
  uint64_t hashed = hash(key, (uint32_t)kind);
  struct shard *shard = shard_get(hashed);
  if (unlikely(!shard)) return -1;
  struct place *entry = find(shard, hashed, key, (uint32_t)kind);
  int result = entry ? 0 : -1;
  if (entry) {
    *before = entry->bytes;
    uint64_t more = bytes > entry->bytes ? bytes - entry->bytes : 0;
    if (fits(shard, device_of(entry), more)) {
      if (device_of(entry) >= 0) shard->account[device_of(entry)].held += bytes - entry->bytes;
      entry->bytes = bytes;
    } else {
      result = 2;
    }
  }
  unlock(shard);
  if (result != 2) return result;
  // Short of its share: all locks, and the entry is looked up anew.
  struct arena *arena = arena_get();
  if (lock_all(arena)) return 1;
  result = -1;
  if ((entry = find(shard, hashed, key, (uint32_t)kind))) {
    *before = entry->bytes;
    result = bytes > entry->bytes && deal(arena, shard, device_of(entry), bytes - entry->bytes);
    if (!result) {
      shard->account[device_of(entry)].held += bytes - entry->bytes;
      entry->bytes = bytes;
    }
  }
  unlock_all(arena);
  return result;
}

/* ---- many at once ---- */

struct match { uint64_t owner; int kind; int device; };

static int matches(const struct place *entry, const struct match *match) {
  if (match->device >= 0) return device_of(entry) == match->device;
  return entry->owner == match->owner && (match->kind == 0 || (int)kind_of(entry) == match->kind);
}

static uint64_t drop(const struct match *match) {
  struct arena *arena = arena_get();
  uint64_t found = 0, bytes[DEVICES] = {0};
  for (uint32_t i = 0; i < SHARDS; i++) {
    struct shard *shard = &arena->shards[i];
    if (lock(shard)) continue;
    for (uint32_t at = 0; shard->table && at < 1U << shard->bits;) {
      struct place *entry = &shard->table[at];
      if (!kind_of(entry) || !matches(entry, match)) {
        at++;
        continue;
      }
      if (device_of(entry) >= 0) bytes[device_of(entry)] += entry->bytes;
      take_out(shard, entry); // moves another into this place, perhaps: look at it again
      found++;
    }
    unlock(shard);
  }
  for (int device = 0; device < (int)DEVICES; device++)
    if (bytes[device]) ledger_release(device, bytes[device]);
  return found;
}

uint64_t map_drop(uint64_t owner, int kind) {
  struct match match = {owner, kind, -1};
  return drop(&match);
}

uint64_t map_drop_device(int device) {
  struct match match = {0, 0, device};
  return device < 0 ? 0 : drop(&match);
}

uint64_t map_bytes(int device) {
  struct arena *arena = arena_get();
  uint64_t held = 0;
  for (uint32_t i = 0; device >= 0 && device < (int)DEVICES && i < SHARDS; i++) {
    if (lock(&arena->shards[i])) continue;
    held += arena->shards[i].account[device].held;
    unlock(&arena->shards[i]);
  }
  return held;
}
