// SPDX-License-Identifier: Apache-2.0
// Addresses. A block of n bytes lies in the class of the next power of two; each class is a range of 1 TiB cut in equal pieces,
// so an address tells its block without a search. The piece freed last is used first, as a real driver tends to do.
#include "card.h"

#include <string.h>
#include <sys/mman.h>

enum { RANGE_BITS = 40, SEGMENT_BITS = 12, SEGMENTS = 1024 };
static const uint64_t base_address = 0x110000000000;
/* ThreadSanitizer lets programs touch addresses under 512 GiB only, of those that nobody else uses: what may have host memory behind
   it lies there then, in smaller ranges. */
#ifdef __SANITIZE_THREAD__
enum { LOW_BITS = 33 };
static const uint64_t low_address = 0x1000000000;
#else
enum { LOW_BITS = FIRST_CLASS };
static const uint64_t low_address = UINT64_MAX;
#endif

static unsigned range_bits(unsigned class) { return class + FIRST_CLASS < LOW_BITS ? LOW_BITS : RANGE_BITS; }
static uint64_t range_start(unsigned class) {
  return class + FIRST_CLASS < LOW_BITS ? low_address + ((uint64_t)class << LOW_BITS) : base_address + ((uint64_t)class << RANGE_BITS);
}
/* CLASSES or more: no address of ours. */
static uint64_t range_of(CUdeviceptr address) {
  if (address >= base_address) return (address - base_address) >> RANGE_BITS;
  return address >= low_address ? (address - low_address) >> LOW_BITS : CLASSES;
}

static struct class {
  _Alignas(128) _Atomic(struct block *) segments[SEGMENTS];
  _Atomic uint32_t used;
} classes[CLASSES];
static atomic_uint next_arena;

void block_init(void) {}

static struct arena *arena_mine(void) {
  unsigned arena = fake_thread.arena;
  if (unlikely(!arena)) arena = fake_thread.arena = atomic_fetch_add(&next_arena, 1) % knobs.arenas + 1;
  return &arenas[arena - 1];
}

static unsigned class_of(uint64_t size) {
  if (size <= (uint64_t)1 << FIRST_CLASS) return 0;
  return (unsigned)(64 - __builtin_clzll(size - 1)) - FIRST_CLASS;
}

static struct block *piece(unsigned class, uint32_t index) {
  struct block *segment = atomic_load_explicit(&classes[class].segments[index >> SEGMENT_BITS], memory_order_acquire);
  return segment ? &segment[index & ((1u << SEGMENT_BITS) - 1)] : NULL;
}

/* The index of a piece never used before; UINT32_MAX when the range is full. */
static uint32_t piece_new(unsigned class) {
  const size_t bytes = sizeof(struct block) << SEGMENT_BITS;
  uint32_t index = atomic_fetch_add(&classes[class].used, 1);
  if (index >> SEGMENT_BITS >= SEGMENTS || (uint64_t)index >> (range_bits(class) - FIRST_CLASS - class)) {
    atomic_fetch_sub(&classes[class].used, 1);
    return UINT32_MAX;
  }
  if (piece(class, index)) return index;
  void *fresh = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (fresh == MAP_FAILED) return UINT32_MAX;
  struct block *none = NULL;
  if (!atomic_compare_exchange_strong(&classes[class].segments[index >> SEGMENT_BITS], &none, fresh)) munmap(fresh, bytes);
  return index;
}

static CUdeviceptr address_of(unsigned class, uint32_t index) {
  return range_start(class) + ((uint64_t)index << (class + FIRST_CLASS));
}

CUdeviceptr block_new(struct context *context, int device, enum block_kind kind, uint64_t size, uint64_t charged, void *owner) {
  if (unlikely(size > (uint64_t)1 << LAST_CLASS)) return 0;
  unsigned class = class_of(size);
  struct arena *arena = arena_mine();
  arena_lock(arena);
  if (unlikely(charged && (card_shared || !credit_take(arena, device, charged)))) {
    arena_unlock(arena);
    if (!card_take_into(device, charged, arena)) return 0;
    arena_lock(arena);
  }
  uint32_t index = arena->free[class];
  if (likely(index)) {
    arena->free[class] = piece(class, --index)->next;
    arena_unlock(arena);
  } else {
    arena_unlock(arena);
    index = piece_new(class);
    if (index == UINT32_MAX) {
      card_give(device, charged);
      return 0;
    }
  }
  struct block *block = piece(class, index);
  block->size = size;
  block->charged = charged;
  block->context = context;
  block->owner = owner;
  block->device = (uint8_t)device;
  block->home = (uint8_t)(arena - arenas);
  block->opens = 0;
  atomic_store_explicit(&block->kind, (uint8_t)kind, memory_order_release);
  return address_of(class, index);
}

struct block *block_of(CUdeviceptr address, CUdeviceptr *base) {
  uint64_t range = range_of(address);
  if (unlikely(range >= CLASSES)) return NULL;
  unsigned class = (unsigned)range;
  uint64_t index = (address - range_start(class)) >> (class + FIRST_CLASS);
  if (unlikely(index >> SEGMENT_BITS >= SEGMENTS)) return NULL;
  struct block *block = piece(class, (uint32_t)index);
  if (unlikely(!block || atomic_load_explicit(&block->kind, memory_order_acquire) == BLOCK_FREE)) return NULL;
  *base = address_of(class, (uint32_t)index);
  return address - *base < block->size ? block : NULL;
}

bool block_end(CUdeviceptr base, struct block *block, enum block_kind kind) {
  unsigned class = (unsigned)range_of(base);
  uint32_t index = (uint32_t)((base - range_start(class)) >> (class + FIRST_CLASS));
  struct arena *arena = &arenas[block->home];
  arena_lock(arena);
  if (atomic_load_explicit(&block->kind, memory_order_relaxed) != kind) {
    arena_unlock(arena);
    return false;
  }
  int device = block->device;
  uint64_t charged = block->charged;
  if (unlikely(block->mapped)) {
    munmap((void *)(uintptr_t)base, (size_t)round_up(block->size, 4096)); // NOLINT: the address is ours
    block->mapped = 0;
  }
  atomic_store_explicit(&block->kind, BLOCK_FREE, memory_order_relaxed);
  if (likely(!card_shared)) credit_add(arena, device, charged);
  block->next = arena->free[class];
  arena->free[class] = index + 1;
  arena_unlock(arena);
  if (unlikely(card_shared)) card_give(device, charged);
  return true;
}

void block_end_all(const struct context *context) {
  for (unsigned class = 0; class < CLASSES; class++) {
    uint32_t used = atomic_load(&classes[class].used);
    for (uint32_t index = 0; index < used; index++) {
      struct block *block = piece(class, index);
      uint8_t kind = block ? atomic_load(&block->kind) : BLOCK_FREE;
      /* A range of addresses belongs to the process, and pools outlive contexts too. */
      if (kind == BLOCK_FREE || kind == BLOCK_RANGE || kind == BLOCK_POOL || block->context != context) continue;
      block_end(address_of(class, index), block, (enum block_kind)kind);
    }
  }
}

bool block_back(CUdeviceptr base, struct block *block) {
  if (likely(block->mapped)) return true;
  pthread_mutex_lock(&fake_lock);
  if (!block->mapped) {
    void *at = (void *)(uintptr_t)base;
    void *got = mmap(at, (size_t)round_up(block->size, 4096), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    block->mapped = got == at;
  }
  pthread_mutex_unlock(&fake_lock);
  return block->mapped;
}
