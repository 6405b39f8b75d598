// SPDX-License-Identifier: Apache-2.0
// Physical memory of the devices, for everything but blocks' fast path (block.c keeps some of it at hand per arena).
#include "card.h"

#include "heap.h"

#include <stdio.h>
#include <stdlib.h>

struct arena arenas[MAX_ARENAS];
bool card_shared;

static pthread_mutex_t card_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t pool[MAX_DEVICES];
static struct heap *heap;
static int slot;

static void share(void) {
  const char *path = getenv("FAKE_CUDA_HEAP");
  if (!path || !*path) return;
  heap = heap_open(path);
  if (heap) {
    heap_lock();
    slot = heap_claim(heap);
    heap_unlock();
  }
  if (!heap || slot < 0) {
    fprintf(stderr, "fake libcuda: FAKE_CUDA_HEAP=%s cannot be used\n", path);
    abort();
  }
  card_shared = true;
}

void card_init(void) {
  if (knobs.arenas < 1) knobs.arenas = 1;
  if (knobs.arenas > MAX_ARENAS) knobs.arenas = MAX_ARENAS;
  for (int i = 0; i < knobs.devices; i++) pool[i] = knobs.memory[i];
  share();
}

/* The parent's memory is not the child's. */
void card_forked(void) {
  if (!card_shared) return;
  heap_forget();
  share();
}

static bool heap_take(int device, uint64_t bytes) {
  int card = knobs.order[device];
  heap_lock();
  uint64_t limit = knobs.memory[device], *used = &heap->used[card];
  if (bytes > limit || *used > limit - bytes) heap_reap(heap);
  bool fits = bytes <= limit && *used <= limit - bytes;
  if (fits) {
    heap->slots[slot].used[card] += bytes;
    *used += bytes;
  }
  heap_unlock();
  return fits;
}

static void heap_give(int device, uint64_t bytes) {
  int card = knobs.order[device];
  heap_lock();
  uint64_t *mine = &heap->slots[slot].used[card];
  if (bytes > *mine) bytes = *mine; /* a forked child gives back what was its parent's */
  *mine -= bytes;
  heap->used[card] -= bytes;
  heap_unlock();
}

bool card_take_into(int device, uint64_t bytes, struct arena *arena) {
  if (card_shared) return heap_take(device, bytes);
  const uint64_t at_hand = (uint64_t)64 << 20;
  pthread_mutex_lock(&card_lock);
  if (pool[device] < bytes) {
    for (unsigned i = 0; i < knobs.arenas; i++) {
      arena_lock(&arenas[i]);
      pool[device] += atomic_exchange_explicit(&arenas[i].credit[device], 0, memory_order_relaxed);
      arena_unlock(&arenas[i]);
    }
  }
  bool fits = pool[device] >= bytes;
  if (fits) {
    pool[device] -= bytes;
    uint64_t more = arena && pool[device] >= at_hand * 4 * knobs.arenas ? at_hand : 0;
    if (more) {
      pool[device] -= more;
      arena_lock(arena);
      credit_add(arena, device, more);
      arena_unlock(arena);
    }
  }
  pthread_mutex_unlock(&card_lock);
  return fits;
}

bool card_take(int device, uint64_t bytes) { return card_take_into(device, bytes, NULL); }

void card_give(int device, uint64_t bytes) {
  if (!bytes) return;
  if (card_shared) {
    heap_give(device, bytes);
    return;
  }
  pthread_mutex_lock(&card_lock);
  pool[device] += bytes;
  pthread_mutex_unlock(&card_lock);
}

uint64_t card_free(int device) {
  if (card_shared) {
    heap_lock();
    heap_reap(heap);
    uint64_t used = heap->used[knobs.order[device]];
    heap_unlock();
    return used < knobs.memory[device] ? knobs.memory[device] - used : 0;
  }
  pthread_mutex_lock(&card_lock);
  uint64_t bytes = pool[device];
  for (unsigned i = 0; i < knobs.arenas; i++)
    bytes += atomic_load_explicit(&arenas[i].credit[device], memory_order_relaxed);
  pthread_mutex_unlock(&card_lock);
  return bytes;
}
