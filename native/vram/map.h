// SPDX-License-Identifier: Apache-2.0
// What this process holds: address or handle -> bytes. Private to the process, empty in a child after fork. It is also the
// second guard of the quota: the bytes in it never exceed the control page's limit, whatever the ledger page says.
#ifndef PENSTOCK_VRAM_MAP_H
#define PENSTOCK_VRAM_MAP_H

#include <stdint.h>

/** Keys are unique per kind: an array handle may equal a device address. 1-63; hooks own the list. */
struct map_entry {
  uint64_t key;
  uint64_t owner;  // context, pool or handle it belongs to; 0: none. map_drop() finds by it
  uint64_t bytes;  // charged to `device`; < 2^46 (MAP_BYTES_MAX)
  uint16_t kind;   // 1-63
  int16_t device;  // index in the control page; -1: not charged
  uint32_t count;  // references, for handles that live as long as any
};

#define MAP_BYTES_MAX ((UINT64_C(1) << 46) - 1)

/**
 * 0: in. 1: refused, because the process would hold more than the control page's limit (a ledger page that somebody
 * scribbled on) or there is no memory for the map: undo the real allocation, ledger_release, answer out of memory.
 * An entry of the same key and kind is out of date (its context died unseen): it is replaced and its bytes released.
 */
int map_insert(uint64_t key, int kind, int device, uint64_t bytes);
/** The same with an owner. */
int map_insert_owned(uint64_t key, int kind, int device, uint64_t bytes, uint64_t owner);
/** The same with owner and count. */
int map_insert_entry(const struct map_entry *entry);
/** Puts back what map_remove() took out, when the real free failed. Never refuses for the limit. */
void map_restore(const struct map_entry *entry);

/** 1: found and taken out (copied to *out, which may be NULL), 0: not ours. Does not release the bytes. */
int map_remove(uint64_t key, int kind, struct map_entry *out);
/** 1: found (copied to *out, may be NULL). */
int map_find(uint64_t key, int kind, struct map_entry *out);

/**
 * Adds `delta` to `count`. Returns 1 and the entry after the change in *out; at count 0 the entry is out of the map.
 * 0: not ours.
 */
int map_count(uint64_t key, int kind, int32_t delta, struct map_entry *out);
/**
 * Sets `bytes` of an entry (a pool whose reserved size changed; a pitch known late). The caller has reserved or releases
 * the difference. 0: done (*before: bytes until now). 1: refused as by map_insert. -1: not ours.
 */
int map_resize(uint64_t key, int kind, uint64_t bytes, uint64_t *before);

/**
 * Takes out every entry of that owner (and kind, 0: any) and releases its bytes: its context or pool is gone. Returns how
 * many. Walks the whole map: for rare calls.
 */
uint64_t map_drop(uint64_t owner, int kind);
/** Takes out every entry of that device, whoever owns it, and releases its bytes (primary context reset). */
uint64_t map_drop_device(int device);

/**
 * Keys of that kind and owner in one of the MAP_PARTS parts of the map, at most `room` of them; returns how many there are. A
 * snapshot: entries come and go meanwhile.
 */
uint32_t map_list(uint32_t part, int kind, uint64_t owner, uint64_t *keys, uint32_t room);
#define MAP_PARTS 64
/** Gives an entry another owner if it has that one. 1: done. */
int map_own(uint64_t key, int kind, uint64_t before, uint64_t owner);

/** Bytes that the map holds for a device: what this process uses by its own account. Walks 64 shards. */
uint64_t map_bytes(int device);

#endif
