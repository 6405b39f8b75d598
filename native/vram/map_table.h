// SPDX-License-Identifier: Apache-2.0
// The table behind the map: open addressing with linear probing, in one mapping of which each shard has a part of its own. A place is a key and a
// word about it, four to a cache line; what only few entries have lies in the mapping's second half. An entry stays where it was put until it is
// taken out or the table grows. Instead of tombstones each place counts the entries that went past it: a search ends at one that nobody passed, and
// taking out counts down again, so that the speed does not depend on history.
#ifndef PENSTOCK_VRAM_MAP_TABLE_H
#define PENSTOCK_VRAM_MAP_TABLE_H

#include "vram/core.h"

struct place {
  uint64_t key, word;
};

/** Of an entry that is not plain. */
struct side {
  uint64_t owner, count;
};

/** One entry as the table keeps it: owner 0 and count 1 where the word says plain. */
struct item {
  uint64_t key, word, owner, count;
};

// word: kind 6 (0: the place is empty) | device + 1 5 | plain 1 | passed 6 | bytes 46
#define WORD_KIND UINT64_C(0x3f)
#define WORD_DEVICE_SHIFT 6
#define WORD_DEVICE UINT64_C(0x1f)
#define WORD_PLAIN (UINT64_C(1) << 11)
// Of the place, empty or not: how many entries went past it; at the highest number it stays, as nobody knows how many there were.
#define WORD_PASSED (UINT64_C(63) << 12)
#define PASSED_ONE (UINT64_C(1) << 12)
#define WORD_BYTES_SHIFT 18
_Static_assert(MAP_BYTES_MAX >> (64 - WORD_BYTES_SHIFT) == 0, "bytes fit");
_Static_assert(DEVICES <= WORD_DEVICE, "devices fit");

static inline uint64_t word_of(uint32_t kind, int device, uint64_t bytes) {
  return kind | (uint64_t)(uint32_t)(device + 1) << WORD_DEVICE_SHIFT | bytes << WORD_BYTES_SHIFT;
}
static inline uint32_t kind_of(uint64_t word) { return (uint32_t)(word & WORD_KIND); }
static inline int device_of(uint64_t word) { return (int)(word >> WORD_DEVICE_SHIFT & WORD_DEVICE) - 1; }
static inline uint64_t bytes_of(uint64_t word) { return word >> WORD_BYTES_SHIFT; }

static inline uint64_t hash(uint64_t key, uint32_t kind) {
  return (key ^ (uint64_t)kind << 56) * UINT64_C(0x9e3779b97f4a7c15);
}

/* ---- a table: the address of its mapping, and in the low bits log2 of the number of places ---- */

#define TABLE_BITS UINT64_C(63)
#define SHARD_BITS 6
_Static_assert(1 << SHARD_BITS == SHARDS, "a shard's number is the top bits of a hash");
static inline struct place *places_of(uint64_t table) { return (struct place *)(table & ~TABLE_BITS); }
static inline uint32_t bits_of(uint64_t table) { return (uint32_t)(table & TABLE_BITS); }
/** Shard and place are the top bits of the hash. */
static inline struct shard *shard_of(uint64_t hashed) { return &ledger_arena.shards[hashed >> (64 - SHARD_BITS)]; }
/** A number, and no pointer yet: it is worked out before anybody knows whether there is a table. */
static inline struct place *home_of(uint64_t table, uint64_t hashed) {
  return (struct place *)(uintptr_t)((table & ~TABLE_BITS) + (hashed >> (-table & TABLE_BITS)) * sizeof(struct place));
}
/** Places that a shard has. */
static inline uint32_t part_of(uint64_t table) { return table ? 1U << (bits_of(table) - SHARD_BITS) : 0; }
static inline struct place *shard_places(uint64_t table, uint32_t shard) {
  return (struct place *)(uintptr_t)((table & ~TABLE_BITS) + shard * (uint64_t)part_of(table) * sizeof(struct place));
}

/** The place of a key, or NULL. */
HIDDEN struct place *table_find(uint64_t table, uint64_t hashed, uint64_t key, uint32_t kind);
/** Of a key that is not there, into a part that is not full. */
HIDDEN void table_put(uint64_t table, const struct item *item);
HIDDEN void table_erase(uint64_t table, struct place *place);
HIDDEN struct item table_read(uint64_t table, const struct place *place);
HIDDEN void table_change(uint64_t table, struct place *place, uint64_t owner, uint64_t count);
/** One of twice the size with the same entries, or the first one; the old one is gone. 0: there is no memory for it. */
HIDDEN uint64_t table_grow(uint64_t table);
/** Entries that a shard takes: three quarters of its places. Smaller tables win: a miss in a cache costs more than some steps in a line. */
static inline uint32_t table_room(uint64_t table) { return part_of(table) / 4 * 3; }

#endif
