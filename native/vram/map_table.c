// SPDX-License-Identifier: Apache-2.0
#include "vram/map_table.h"

enum { FIRST_BITS = SHARD_BITS + 4, LAST_BITS = 30 };

/** The next place in the same shard's part. */
static inline struct place *after(uint64_t table, const struct place *place) {
  uint64_t at = (uint64_t)(place - places_of(table)), mask = part_of(table) - 1;
  return places_of(table) + ((at & ~mask) | ((at + 1) & mask));
}

static inline struct side *side_of(uint64_t table, const struct place *place) {
  return (struct side *)(places_of(table) + (UINT64_C(1) << bits_of(table))) + (place - places_of(table));
}

struct place *table_find(uint64_t table, uint64_t hashed, uint64_t key, uint32_t kind) {
  if (!table) return NULL;
  struct place *place = home_of(table, hashed);
  for (uint32_t steps = part_of(table); steps; steps--) {
    if (place->key == key && kind_of(place->word) == kind) return place;
    if ((place->word & WORD_PASSED) == 0) return NULL;
    place = after(table, place);
  }
  return NULL;
}

void table_put(uint64_t table, const struct item *item) {
  struct place *place = home_of(table, hash(item->key, kind_of(item->word)));
  for (; kind_of(place->word); place = after(table, place))
    if ((place->word & WORD_PASSED) != WORD_PASSED) place->word += PASSED_ONE;
  place->key = item->key;
  place->word |= item->word;
  table_change(table, place, item->owner, item->count);
}

void table_erase(uint64_t table, struct place *place) {
  struct place *at = home_of(table, hash(place->key, kind_of(place->word)));
  for (; at != place; at = after(table, at))
    if ((at->word & WORD_PASSED) != WORD_PASSED) at->word -= PASSED_ONE;
  place->key = 0;
  place->word &= WORD_PASSED;
}

struct item table_read(uint64_t table, const struct place *place) {
  struct item item = {place->key, place->word & ~(WORD_PASSED | WORD_PLAIN), 0, 1};
  if ((place->word & WORD_PLAIN) == 0 && kind_of(place->word)) {
    const struct side *side = side_of(table, place);
    item.owner = side->owner, item.count = side->count;
  }
  return item;
}

void table_change(uint64_t table, struct place *place, uint64_t owner, uint64_t count) {
  if (owner == 0 && count == 1) {
    place->word |= WORD_PLAIN;
    return;
  }
  place->word &= ~WORD_PLAIN;
  *side_of(table, place) = (struct side){owner, count};
}

uint64_t table_grow(uint64_t before) {
  uint32_t bits = before ? bits_of(before) + 1 : FIRST_BITS;
  if (bits > LAST_BITS) return 0;
  uint64_t size = (sizeof(struct place) + sizeof(struct side)) << bits;
  void *mapping = sys_mmap(size, PROT_READ_ | PROT_WRITE_, MAP_PRIVATE_ | MAP_ANONYMOUS_, -1);
  if (!mapping) return 0;
  // A child starts with an empty map and would only carry these along, unless its kernel does not wipe the arena.
  if (!arena_unwiped) sys_madvise(mapping, size, MADV_DONTFORK_);
  uint64_t table = (uint64_t)(uintptr_t)mapping | bits;
  if (!before) return table;
  for (struct place *place = places_of(before), *end = place + (UINT64_C(1) << bits_of(before)); place < end; place++) {
    if (!kind_of(place->word)) continue;
    struct item item = table_read(before, place);
    table_put(table, &item);
  }
  sys_munmap(places_of(before), size / 2);
  return table;
}
