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
static inline struct shard *shard_of(uint64_t hashed) { return &ledger_arena.shards[hashed >> 58]; }
static inline uint32_t home_of(const struct shard *shard, uint64_t hashed) { return (uint32_t)(hashed << 6 >> shard->shift); }

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

typedef uint64_t __attribute__((may_alias)) word;
_Static_assert(sizeof(struct place) == sizeof(struct map_entry), "an entry is a place");
_Static_assert(offsetof(struct map_entry, kind) == offsetof(struct place, about), "kind is the low half-word");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "kind is the low half-word");

static inline uint32_t kind_of(uint64_t about) { return (uint16_t)about; }
static inline int device_of(uint64_t about) { return (int16_t)(about >> 16); }
static inline uint64_t about(uint32_t kind, int device, uint32_t count) {
  return (uint64_t)kind | (uint64_t)(uint16_t)device << 16 | (uint64_t)count << 32;
}
/** Word by word: a wide load of words that were just stored would wait for them to leave the store buffer. */
static inline void copy(void *to, const void *from) {
  const word *source = from;
  uint64_t a = source[0], b = source[1], c = source[2], d = source[3];
  __asm__("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d));
  word *target = to;
  target[0] = a;
  target[1] = b;
  target[2] = c;
  target[3] = d;
}

/* ---- one shard, locked ---- */

/** The place of a key, or the empty one where it would go: there is one, tables are at most three quarters full. */
static inline struct place *seek(const struct shard *shard, struct place *table, uint64_t hashed, uint64_t key, uint32_t kind) {
  uint32_t at = home_of(shard, hashed);
  for (;;) {
    struct place *place = &table[at];
    uint32_t found = kind_of(place->about);
    if (likely(place->key == key && found == kind) || found == 0) return place;
    at = (at + 1) & shard->mask;
  }
}

static inline struct place *find(const struct shard *shard, uint64_t hashed, uint64_t key, uint32_t kind) {
  if (!shard->table) return NULL;
  struct place *place = seek(shard, shard->table, hashed, key, kind);
  return kind_of(place->about) ? place : NULL;
}

static __attribute__((noinline)) int grow(struct shard *shard) {
  struct place *before = shard->table;
  uint32_t places = before ? shard->mask + 1 : 0, bits = before ? 65 - shard->shift : FIRST_BITS;
  if (bits > LAST_BITS) return 1;
  uint64_t size = sizeof(struct place) << bits;
  struct place *table = sys_mmap(size, PROT_READ_ | PROT_WRITE_, MAP_PRIVATE_ | MAP_ANONYMOUS_, -1);
  if (!table) return 1;
  // A child starts with an empty map and would only carry these along, unless its kernel does not wipe the arena.
  if (!arena_unwiped) sys_madvise(table, size, MADV_DONTFORK_);
  shard->table = table;
  shard->hot = arena_unwiped ? NULL : table;
  shard->spare += (1U << bits) / 4 * 3 - places / 4 * 3; // smaller tables win: a miss in a cache costs more than some steps in a line
  shard->mask = (1U << bits) - 1;
  shard->shift = 64 - bits;
  for (uint32_t i = 0; i < places; i++) {
    uint32_t kind = kind_of(before[i].about);
    if (kind) copy(seek(shard, table, hash(before[i].key, kind), before[i].key, kind), &before[i]);
  }
  if (before) sys_munmap(before, (uint64_t)places * sizeof *before);
  return 0;
}

/** Closes the hole that taking out a place leaves: each later one of the run moves up unless that is before its home. */
static inline void take_out(struct shard *shard, struct place *table, struct place *place) {
  int device = device_of(place->about);
  if (likely(device >= 0)) shard->account[device].left += place->bytes;
  shard->spare++;
  uint32_t mask = shard->mask, hole = (uint32_t)(place - table);
  for (uint32_t at = (hole + 1) & mask;; at = (at + 1) & mask) {
    uint32_t kind = kind_of(table[at].about);
    if (likely(!kind)) break;
    uint32_t home = home_of(shard, hash(table[at].key, kind));
    if (((at - home) & mask) < ((at - hole) & mask)) continue;
    copy(&table[hole], &table[at]);
    hole = at;
  }
  table[hole].about = 0;
}

/* ---- the share of the limit ---- */

/** Locks of all shards, lowest first; nobody else ever waits for a second one. */
static int lock_all(void) {
  for (uint32_t i = 0; i < SHARDS; i++)
    if (lock(&ledger_arena.shards[i])) {
      while (i--) unlock(&ledger_arena.shards[i]);
      return 1;
    }
  return 0;
}

static void unlock_all(void) {
  for (uint32_t i = 0; i < SHARDS; i++) unlock(&ledger_arena.shards[i]);
}

/**
 * With all locks: counts what is held and deals out what is left of the limit, `bytes` of it to `shard` first. 0, or 1 when
 * they are not left; with `forced` the shard may hold them all the same, and others less for it the next time.
 */
static int deal(struct shard *shard, int device, uint64_t bytes, int forced) {
  if (device < 0) return 0;
  store_relaxed(&ledger_arena.dealt, 1);
  uint64_t limit = control_limit(device), held = 0;
  for (uint32_t i = 0; i < SHARDS; i++) held += ledger_arena.shards[i].account[device].cap - ledger_arena.shards[i].account[device].left;
  if (held > limit || bytes > limit - held) {
    if (forced) shard->account[device].cap += bytes, shard->account[device].left += bytes;
    return !forced;
  }
  uint64_t share = (limit - held - bytes) / SHARDS;
  for (uint32_t i = 0; i < SHARDS; i++) {
    struct shard *each = &ledger_arena.shards[i];
    each->account[device].cap += share - each->account[device].left; // held + share
    each->account[device].left = share;
  }
  shard->account[device].cap += bytes;
  shard->account[device].left += bytes;
  return 0;
}

void map_recap(struct arena *arena) {
  if (!load_relaxed(&arena->dealt) || lock_all()) return;
  for (uint32_t i = 0, devices = control_devices(); i < SHARDS; i++)
    for (uint32_t device = 0; device < devices; device++) {
      arena->shards[i].account[device].cap -= arena->shards[i].account[device].left;
      arena->shards[i].account[device].left = 0;
    }
  unlock_all();
}

/* ---- inserting ---- */

/** All that is not the ordinary case: no table yet or a full one, a place that is taken, a shard short of its share. */
static __attribute__((noinline)) int insert_slow(const struct place *entry, int forced) {
  uint32_t kind = kind_of(entry->about);
  int device = device_of(entry->about);
  if (kind == 0 || entry->bytes > MAP_BYTES_MAX || device >= (int)DEVICES) return 1;
  arena_get();
  uint64_t hashed = hash(entry->key, kind);
  struct shard *shard = shard_of(hashed);
  if (lock_all()) return 1;
  struct place stale = {0, 0, 0, 0}, *place = find(shard, hashed, entry->key, kind);
  int refused = 0;
  if (place) {
    copy(&stale, place);
    take_out(shard, shard->table, place);
  }
  if (!shard->spare) refused = grow(shard);
  if (!refused && device >= 0 && shard->account[device].left < entry->bytes) refused = deal(shard, device, entry->bytes, forced);
  if (!refused) {
    copy(seek(shard, shard->table, hashed, entry->key, kind), entry);
    shard->spare--;
    if (device >= 0) shard->account[device].left -= entry->bytes;
  }
  unlock_all();
  if (kind_of(stale.about) && device_of(stale.about) >= 0) ledger_release(device_of(stale.about), stale.bytes);
  return refused;
}

/** Not charged, or the shard's lock was held: one lock still, if there is a free place and enough of the share. */
static __attribute__((noinline)) int insert_unusual(uint64_t key, uint64_t owner, uint64_t bytes, uint64_t about) {
  struct place entry = {key, owner, bytes, about};
  int device = device_of(about);
  uint64_t hashed = hash(key, kind_of(about));
  struct shard *shard = shard_of(hashed);
  if (kind_of(about) == 0 || bytes > MAP_BYTES_MAX || device >= (int)DEVICES || lock(shard)) return 1;
  int fits = shard->hot && shard->spare && (device < 0 || shard->account[device].left >= bytes);
  struct place *place = fits ? seek(shard, shard->hot, hashed, key, kind_of(about)) : NULL;
  int done = place && !kind_of(place->about);
  if (done) {
    copy(place, &entry);
    shard->spare--;
    if (device >= 0) shard->account[device].left -= bytes;
  }
  unlock(shard);
  return done ? 0 : insert_slow(&entry, 0);
}

/** The place is free, the shard's share suffices: else insert_slow. A leaf: nothing is saved, and all else is a tail call. */
static inline __attribute__((always_inline)) int insert(uint64_t key, uint64_t owner, uint64_t bytes, uint64_t about) {
  uint32_t kind = kind_of(about), device = (uint32_t)device_of(about);
  uint64_t hashed = hash(key, kind);
  struct shard *shard = shard_of(hashed);
  if (unlikely(device >= DEVICES) || unlikely(exchange_acquire(&shard->lock, 1) != 0)) return insert_unusual(key, owner, bytes, about);
  __asm__("" : "+r"(shard)); // kept as one address: gcc would compute it anew for each member
  struct place *table = shard->hot;
  uint64_t *left = &shard->account[device].left;
  __asm__("" : "+r"(left));
  if (likely(table != NULL && shard->spare != 0 && *left >= bytes)) {
    uint32_t at = home_of(shard, hashed);
    struct place *place = &table[at];
    __asm__("" : "+r"(place));
    while (unlikely(place->about != 0) && (place->key != key || kind_of(place->about) != kind)) place = &table[at = (at + 1) & shard->mask];
    if (likely(place->about == 0)) {
      place->key = key;
      place->owner = owner;
      place->bytes = bytes;
      place->about = about;
      shard->spare--;
      *left -= bytes;
      unlock(shard);
      return 0;
    }
  }
  unlock(shard);
  return insert_unusual(key, owner, bytes, about);
}

int map_insert_entry(const struct map_entry *entry) {
  return insert(entry->key, entry->owner, entry->bytes, about(entry->kind, entry->device, entry->count));
}

int map_insert(uint64_t key, int kind, int device, uint64_t bytes) {
  return insert(key, 0, bytes, about((uint16_t)kind, device, 1));
}

int map_insert_owned(uint64_t key, int kind, int device, uint64_t bytes, uint64_t owner) {
  return insert(key, owner, bytes, about((uint16_t)kind, device, 1));
}

void map_restore(const struct map_entry *entry) {
  struct place place;
  copy(&place, entry);
  insert_slow(&place, 1);
}

/* ---- looking up ---- */

/** The shard of a key, locked; NULL: there is no map, or the lock did not come. */
static inline struct shard *shard_get(uint64_t hashed) {
  arena_get();
  struct shard *shard = shard_of(hashed);
  return lock(shard) ? NULL : shard;
}

int map_remove(uint64_t key, int kind, struct map_entry *out) {
  uint64_t hashed = hash(key, (uint32_t)kind);
  if (unlikely(arena_unwiped)) arena_get();
  struct shard *shard = shard_of(hashed);
  if (unlikely(lock(shard))) return 0;
  struct place *table = shard->table, *place = NULL;
  int found = 0;
  if (likely(table != NULL)) {
    place = seek(shard, table, hashed, key, (uint32_t)kind);
    found = kind_of(place->about) != 0;
    if (likely(found)) {
      if (out) copy(out, place);
      take_out(shard, table, place);
    }
  }
  unlock(shard);
  return found;
}

/** The entry is not alone in its run, or not at its home. The shard is locked. */
static __attribute__((noinline)) struct map_taken take_from_run(uint64_t key, uint32_t kind, struct shard *shard) {
  struct place *table = shard->table, *place = find(shard, hash(key, kind), key, kind);
  struct map_taken taken = {0, 0};
  if (place != NULL) {
    taken = (struct map_taken){place->bytes, place->about};
    take_out(shard, table, place);
  }
  unlock(shard);
  return taken;
}

static __attribute__((noinline)) struct map_taken take_slowly(uint64_t key, int kind) {
  struct map_entry entry;
  if (!map_remove(key, kind, &entry)) return (struct map_taken){0, 0};
  return (struct map_taken){entry.bytes, about(entry.kind, entry.device, entry.count)};
}

/** As insert(): a leaf for the ordinary case. */
struct map_taken map_take(uint64_t key, int kind) {
  uint64_t hashed = hash(key, (uint32_t)kind);
  struct shard *shard = shard_of(hashed);
  if (unlikely(arena_unwiped) || unlikely(exchange_acquire(&shard->lock, 1) != 0)) return take_slowly(key, kind);
  __asm__("" : "+r"(shard));
  struct place *table = shard->hot;
  if (unlikely(table == NULL)) return take_from_run(key, (uint32_t)kind, shard);
  uint32_t at = home_of(shard, hashed);
  struct place *place = &table[at];
  __asm__("" : "+r"(place));
  struct map_taken taken = {place->bytes, place->about};
  uint32_t device = (uint32_t)device_of(taken.about);
  if (unlikely(place->key != key || kind_of(taken.about) != (uint32_t)kind || device >= DEVICES ||
               table[(at + 1) & shard->mask].about != 0)) {
    return take_from_run(key, (uint32_t)kind, shard);
  }
  shard->account[device].left += taken.bytes;
  shard->spare++;
  place->about = 0;
  unlock(shard);
  return taken;
}

int map_find(uint64_t key, int kind, struct map_entry *out) {
  uint64_t hashed = hash(key, (uint32_t)kind);
  struct shard *shard = shard_get(hashed);
  if (unlikely(!shard)) return 0;
  const struct place *entry = find(shard, hashed, key, (uint32_t)kind);
  if (entry && out) copy(out, entry);
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
    entry->about = about(kind_of(entry->about), device_of(entry->about), count);
    if (out) copy(out, entry);
    if (count == 0) take_out(shard, shard->table, entry);
  }
  unlock(shard);
  return entry != NULL;
}

int map_resize(uint64_t key, int kind, uint64_t bytes, uint64_t *before) {
  if (bytes > MAP_BYTES_MAX) return 1;
  uint64_t hashed = hash(key, (uint32_t)kind);
  arena_get();
  struct shard *shard = shard_of(hashed);
  if (lock_all()) return 1; // rare enough to take them all
  struct place *entry = find(shard, hashed, key, (uint32_t)kind);
  int result = entry ? 0 : -1, device = entry ? device_of(entry->about) : -1;
  if (entry) {
    *before = entry->bytes;
    uint64_t more = bytes > entry->bytes ? bytes - entry->bytes : 0;
    if (device >= 0 && more > shard->account[device].left) result = deal(shard, device, more, 0);
    if (result == 0 && device >= 0) shard->account[device].left -= bytes - entry->bytes;
    if (result == 0) entry->bytes = bytes;
  }
  unlock_all();
  return result;
}

/* ---- many at once ---- */

struct match { uint64_t owner; int kind; int device; };

static int matches(const struct place *entry, const struct match *match) {
  if (match->device >= 0) return device_of(entry->about) == match->device;
  return entry->owner == match->owner && (match->kind == 0 || (int)kind_of(entry->about) == match->kind);
}

static uint64_t drop(const struct match *match) {
  struct arena *arena = arena_get();
  uint64_t found = 0, bytes[DEVICES] = {0};
  for (uint32_t i = 0; i < SHARDS; i++) {
    struct shard *shard = &arena->shards[i];
    if (lock(shard)) continue;
    for (uint32_t at = 0; shard->table && at <= shard->mask;) {
      struct place *entry = &shard->table[at];
      if (!kind_of(entry->about) || !matches(entry, match)) {
        at++;
        continue;
      }
      if (device_of(entry->about) >= 0) bytes[device_of(entry->about)] += entry->bytes;
      take_out(shard, shard->table, entry); // moves another into this place, perhaps: look at it again
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

_Static_assert(MAP_PARTS == SHARDS, "a part is a shard");
uint32_t map_list(uint32_t part, int kind, uint64_t owner, uint64_t *keys, uint32_t room) {
  struct shard *shard = &arena_get()->shards[part];
  uint32_t found = 0;
  if (part >= SHARDS || lock(shard)) return 0;
  for (uint32_t at = 0; shard->table && at <= shard->mask; at++) {
    const struct place *entry = &shard->table[at];
    if ((int)kind_of(entry->about) != kind || entry->owner != owner) continue;
    if (found < room) keys[found] = entry->key;
    found++;
  }
  unlock(shard);
  return found;
}

int map_own(uint64_t key, int kind, uint64_t before, uint64_t owner) {
  uint64_t hashed = hash(key, (uint32_t)kind);
  struct shard *shard = shard_get(hashed);
  if (unlikely(!shard)) return 0;
  struct place *entry = find(shard, hashed, key, (uint32_t)kind);
  int ours = entry != NULL && entry->owner == before;
  if (ours) entry->owner = owner;
  unlock(shard);
  return ours;
}

uint64_t map_bytes(int device) {
  struct arena *arena = arena_get();
  uint64_t held = 0;
  if (device < 0 || device >= (int)DEVICES) return 0;
  for (uint32_t i = 0; i < SHARDS; i++) {
    if (lock(&arena->shards[i])) continue;
    held += arena->shards[i].account[device].cap - arena->shards[i].account[device].left;
    unlock(&arena->shards[i]);
  }
  return held;
}
