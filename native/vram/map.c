// SPDX-License-Identifier: Apache-2.0
// What this process holds, in 64 shards (map_shard.h), each with a table (map_table.h). Tables are mappings of their own: malloc could be the
// program's, with hooks that allocate.
#include "vram/map.h"
#include "vram/ledger.h"
#include "vram/map_shard.h"
#include "vram/map_table.h"

/* ---- one shard, locked ---- */

static struct item item_of(const struct map_entry *entry) {
  return (struct item){entry->key, word_of(entry->kind, entry->device < 0 ? -1 : entry->device, entry->bytes), entry->owner, entry->count};
}

static void tell(const struct item *item, struct map_entry *out) {
  if (!out) return;
  *out = (struct map_entry){item->key, item->owner, bytes_of(item->word), (uint16_t)kind_of(item->word), (int16_t)device_of(item->word), (uint32_t)item->count};
}

static int is_possible(const struct map_entry *entry) {
  return entry->kind != 0 && entry->kind <= WORD_KIND && entry->bytes <= MAP_BYTES_MAX && entry->device < (int)DEVICES;
}

/** All shards are locked. */
static int grow(struct arena *arena) {
  uint64_t before = arena->table, table = table_grow(before);
  if (!table) return 1;
  for (uint32_t i = 0; i < SHARDS; i++) arena->shards[i].spare += (int32_t)(table_room(table) - table_room(before));
  arena->table = table;
  store_relaxed(&arena->hot, arena_unwiped ? 0 : table);
  return 0;
}

static void put(struct shard *shard, const struct item *item) {
  int device = device_of(item->word);
  table_put(ledger_arena.table, item);
  shard->spare--;
  if (device >= 0) shard->account[device].left -= bytes_of(item->word);
}

static void erase(struct shard *shard, struct place *place) {
  uint64_t word = place->word;
  int device = device_of(word);
  table_erase(ledger_arena.table, place);
  shard->spare++;
  if (device >= 0) shard->account[device].left += bytes_of(word);
}

/* ---- inserting ---- */

/** All that is not the ordinary case: no table yet or a full one, a key that is there, a shard short of its share. */
static __attribute__((noinline)) int insert_slow(const struct map_entry *entry, int forced) {
  if (!is_possible(entry)) return 1;
  struct arena *arena = arena_get();
  struct item item = item_of(entry), stale = {0, 0, 0, 0};
  uint64_t hashed = hash(entry->key, entry->kind);
  struct shard *shard = shard_of(hashed);
  int device = device_of(item.word), refused = 0;
  if (shards_lock()) return 1;
  struct place *place = table_find(arena->table, hashed, entry->key, entry->kind);
  if (place) {
    stale = table_read(arena->table, place);
    erase(shard, place);
  }
  if (shard->spare <= 0) refused = grow(arena);
  if (!refused && device >= 0 && shard->account[device].left < entry->bytes) refused = shard_deal(shard, device, entry->bytes, forced);
  if (!refused) put(shard, &item);
  shards_unlock();
  if (device_of(stale.word) >= 0) ledger_release(device_of(stale.word), bytes_of(stale.word));
  return refused;
}

int map_insert_entry(const struct map_entry *entry) {
  if (!is_possible(entry)) return 1;
  if (load_relaxed(&ledger_arena.hot) == 0) return insert_slow(entry, 0);
  uint64_t hashed = hash(entry->key, entry->kind);
  struct shard *shard = shard_of(hashed);
  if (shard_lock(shard)) return 1;
  uint64_t table = ledger_arena.table;
  int fits = shard->spare > 0 && (entry->device < 0 || shard->account[entry->device].left >= entry->bytes);
  int done = fits && table_find(table, hashed, entry->key, entry->kind) == NULL;
  if (done) {
    struct item item = item_of(entry);
    put(shard, &item);
  }
  shard_unlock(shard);
  return done ? 0 : insert_slow(entry, 0);
}

int map_insert_owned(uint64_t key, int kind, int device, uint64_t bytes, uint64_t owner) {
  struct map_entry entry = {key, owner, bytes, (uint16_t)kind, (int16_t)device, 1};
  return map_insert_entry(&entry);
}

int map_insert(uint64_t key, int kind, int device, uint64_t bytes) { return map_insert_owned(key, kind, device, bytes, 0); }

void map_restore(const struct map_entry *entry) { insert_slow(entry, 1); }

/* ---- looking up ---- */

/** An entry's shard, locked, and where it is in there. */
struct spot {
  struct shard *shard; // NULL: there is no map, or the lock did not come
  struct place *place; // NULL: not ours
};

static struct spot spot_lock(uint64_t key, int kind) {
  uint64_t hashed = hash(key, (uint32_t)kind);
  arena_get();
  struct spot spot = {shard_of(hashed), NULL};
  if (unlikely(shard_lock(spot.shard))) return (struct spot){NULL, NULL};
  spot.place = table_find(ledger_arena.table, hashed, key, (uint32_t)kind);
  return spot;
}

/** 1: the entry is there. */
static int spot_read(struct spot spot, struct map_entry *out) {
  if (!spot.place) return 0;
  struct item item = table_read(ledger_arena.table, spot.place);
  tell(&item, out);
  return 1;
}

static int spot_unlock(struct spot spot) {
  if (spot.shard) shard_unlock(spot.shard);
  return spot.place != NULL;
}

int map_remove(uint64_t key, int kind, struct map_entry *out) {
  struct spot spot = spot_lock(key, kind);
  if (spot_read(spot, out)) erase(spot.shard, spot.place);
  return spot_unlock(spot);
}

int map_find(uint64_t key, int kind, struct map_entry *out) {
  struct spot spot = spot_lock(key, kind);
  spot_read(spot, out);
  return spot_unlock(spot);
}

int map_count(uint64_t key, int kind, int32_t delta, struct map_entry *out) {
  struct spot spot = spot_lock(key, kind);
  struct map_entry entry;
  if (spot_read(spot, &entry)) {
    int64_t sum = (int64_t)entry.count + delta;
    entry.count = sum < 0 ? 0 : (uint32_t)sum;
    if (entry.count == 0) erase(spot.shard, spot.place);
    else table_change(ledger_arena.table, spot.place, entry.owner, entry.count);
    if (out) *out = entry;
  }
  return spot_unlock(spot);
}

int map_own(uint64_t key, int kind, uint64_t before, uint64_t owner) {
  struct spot spot = spot_lock(key, kind);
  struct map_entry entry;
  int ours = spot_read(spot, &entry) && entry.owner == before;
  if (ours) table_change(ledger_arena.table, spot.place, owner, entry.count);
  spot_unlock(spot);
  return ours;
}

int map_resize(uint64_t key, int kind, uint64_t bytes, uint64_t *before) {
  if (bytes > MAP_BYTES_MAX) return 1;
  uint64_t hashed = hash(key, (uint32_t)kind);
  arena_get();
  struct shard *shard = shard_of(hashed);
  if (shards_lock()) return 1; // rare enough to take them all
  struct place *place = table_find(ledger_arena.table, hashed, key, (uint32_t)kind);
  int result = -1;
  if (place) {
    uint64_t held = bytes_of(place->word), more = bytes > held ? bytes - held : 0;
    int device = device_of(place->word);
    *before = held;
    result = device >= 0 && more > shard->account[device].left ? shard_deal(shard, device, more, 0) : 0;
    if (result == 0 && device >= 0) shard->account[device].left -= bytes - held;
    if (result == 0) place->word += (bytes - held) << WORD_BYTES_SHIFT;
  }
  shards_unlock();
  return result;
}

/* ---- many at once ---- */

struct match { uint64_t owner; int kind; int device; };

static int matches(const struct item *item, const struct match *match) {
  if (match->device >= 0) return device_of(item->word) == match->device;
  return item->owner == match->owner && (match->kind == 0 || (int)kind_of(item->word) == match->kind);
}

static uint64_t drop(const struct match *match) {
  struct arena *arena = arena_get();
  uint64_t found = 0, bytes[DEVICES] = {0};
  for (uint32_t i = 0; i < SHARDS; i++) {
    struct shard *shard = &arena->shards[i];
    if (shard_lock(shard)) continue;
    for (struct place *place = shard_places(arena->table, i), *end = place + part_of(arena->table); place < end; place++) {
      struct item item = table_read(arena->table, place);
      if (!kind_of(item.word) || !matches(&item, match)) continue;
      if (device_of(item.word) >= 0) bytes[device_of(item.word)] += bytes_of(item.word);
      erase(shard, place);
      found++;
    }
    shard_unlock(shard);
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
  if (part >= SHARDS) return 0;
  struct arena *arena = arena_get();
  struct shard *shard = &arena->shards[part];
  uint32_t found = 0;
  if (shard_lock(shard)) return 0;
  for (const struct place *place = shard_places(arena->table, part), *end = place + part_of(arena->table); place < end; place++) {
    struct item item = table_read(arena->table, place);
    if ((int)kind_of(item.word) != kind || item.owner != owner) continue;
    if (found < room) keys[found] = item.key;
    found++;
  }
  shard_unlock(shard);
  return found;
}

uint64_t map_bytes(int device) {
  struct arena *arena = arena_get();
  uint64_t held = 0;
  if (device < 0 || device >= (int)DEVICES) return 0;
  for (uint32_t i = 0; i < SHARDS; i++) {
    if (shard_lock(&arena->shards[i])) continue;
    held += arena->shards[i].account[device].cap - arena->shards[i].account[device].left;
    shard_unlock(&arena->shards[i]);
  }
  return held;
}
