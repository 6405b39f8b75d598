// SPDX-License-Identifier: Apache-2.0
// hook-model LIMIT SEQUENCES STEPS SEED THREADS [no-pools]: random calls of every family that allocates or frees, against an oracle that knows nothing of the
// hooks: the fake card's own account (FAKE_CUDA_HEAP). After every step (with several threads: whenever all of them stand still)
// the bytes charged must be the card's, to the byte; the card must never hold more than the limit; and what was refused must not have fitted.
// The card is larger than the limit, so that only the quota refuses.
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fake/cuda/heap.h"

typedef int CUresult;
#define CALLS(X)                                                                             \
  X(cuInit, (unsigned))                                                                      \
  X(cuCtxCreate_v2, (void **, unsigned, int))                                                \
  X(cuCtxDestroy_v2, (void *))                                                               \
  X(cuCtxSetCurrent, (void *))                                                               \
  X(cuCtxSynchronize, (void))                                                                \
  X(cuMemGetInfo_v2, (size_t *, size_t *))                                                   \
  X(cuMemAlloc_v2, (uint64_t *, size_t))                                                     \
  X(cuMemAllocManaged, (uint64_t *, size_t, unsigned))                                       \
  X(cuMemAllocPitch_v2, (uint64_t *, size_t *, size_t, size_t, unsigned))                    \
  X(cuMemFree_v2, (uint64_t))                                                                \
  X(cuArray3DCreate_v2, (uint64_t *, const void *))                                          \
  X(cuArrayDestroy, (uint64_t))                                                              \
  X(cuMipmappedArrayCreate, (uint64_t *, const void *, unsigned))                            \
  X(cuMipmappedArrayDestroy, (uint64_t))                                                     \
  X(cuMemAllocAsync, (uint64_t *, size_t, void *))                                           \
  X(cuMemAllocFromPoolAsync, (uint64_t *, size_t, uint64_t, void *))                         \
  X(cuMemFreeAsync, (uint64_t, void *))                                                      \
  X(cuMemPoolCreate, (uint64_t *, const void *))                                             \
  X(cuMemPoolDestroy, (uint64_t))                                                            \
  X(cuMemPoolTrimTo, (uint64_t, size_t))                                                     \
  X(cuMemPoolSetAttribute, (uint64_t, int, void *))                                          \
  X(cuDeviceGetDefaultMemPool, (uint64_t *, int))                                            \
  X(cuMemCreate, (uint64_t *, size_t, const void *, unsigned long long))                     \
  X(cuMemRelease, (uint64_t))                                                                \
  X(cuMemAddressReserve, (uint64_t *, size_t, size_t, uint64_t, unsigned long long))         \
  X(cuMemAddressFree, (uint64_t, size_t))                                                    \
  X(cuMemMap, (uint64_t, size_t, size_t, uint64_t, unsigned long long))                      \
  X(cuMemUnmap, (uint64_t, size_t))                                                          \
  X(cuMemRetainAllocationHandle, (uint64_t *, void *))
#define DECLARE(name, parameters) static CUresult(*p_##name) parameters;
CALLS(DECLARE)

enum { KINDS = 10, OBJECTS = 40, MIB = 1 << 20, STEP = 2 * MIB, POOL_STEP = 32 * MIB };
enum kind { FREE_SLOT, LINEAR, ARRAY, MIPMAP, POOLED, HANDLE, MAPPED, POOL };
struct object {
  enum kind kind;
  int context; // which one it dies with; -1: none
  uint64_t value, bytes;
};
struct worker {
  struct object objects[OBJECTS];
  void *contexts[2];
  uint64_t random;
  int id, current;
  // What the last step asked for: bytes that must not have fitted where it was refused.
  uint64_t wanted;
  char words[160];
};

static uint64_t limit;
static const volatile struct heap *heap;
static atomic_long operations, refusals, false_refusals, above, wrong;
static int threads, steps, pools = 1;
static pthread_barrier_t barrier;

__attribute__((noreturn)) static void fail(const char *what, long code) {
  fprintf(stderr, "hook-model: %s: %ld\n", what, code);
  _exit(70);
}

static uint64_t next(struct worker *w) { // splitmix64
  uint64_t z = (w->random += UINT64_C(0x9e3779b97f4a7c15));
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}
static uint64_t below(struct worker *w, uint64_t n) { return next(w) % n; }

static uint64_t on_card(void) { return heap->used[0]; }
static uint64_t charged(void) {
  size_t available = 0, total = 0;
  if (p_cuMemGetInfo_v2(&available, &total) || total != limit) fail("cuMemGetInfo", (long)total);
  return limit - available;
}

// Mostly small, often about what is left, sometimes far too much.
static uint64_t size(struct worker *w) {
  uint64_t used = on_card(), left = used < limit ? limit - used : 0;
  switch (below(w, 8)) {
  case 0: return left ? left : 1;
  case 1: return left + 1;
  case 2: return left > MIB ? left - below(w, MIB) : 1 + below(w, MIB);
  case 3: return below(w, 16) ? 1 + below(w, limit / 4) : UINT64_MAX - below(w, 4096);
  default: return 1 + below(w, UINT64_C(1) << (below(w, 24) + 1));
  }
}

static struct object *slot(struct worker *w, enum kind kind) {
  int start = (int)below(w, OBJECTS);
  for (int i = 0; i < OBJECTS; i++) {
    struct object *object = &w->objects[(start + i) % OBJECTS];
    if (object->kind == kind) return object;
  }
  return NULL;
}

static void keep(struct worker *w, struct object *object, CUresult result, enum kind kind, uint64_t value, uint64_t bytes) {
  if (result) return;
  *object = (struct object){kind, kind <= MIPMAP ? w->current : -1, value, bytes};
}

static CUresult say(struct worker *w, const char *what, uint64_t a, CUresult result) {
  snprintf(w->words, sizeof w->words, "%s %llu = %d", what, (unsigned long long)a, result);
  return result;
}

static uint64_t round_up(uint64_t n, uint64_t to) { return n > UINT64_MAX - to ? UINT64_MAX : (n + to - 1) / to * to; }

// What the driver takes for it, in the words of the fake one.
static uint64_t on_pages(uint64_t bytes) { return round_up(bytes, bytes > MIB ? STEP : 512); }

static CUresult linear(struct worker *w, struct object *o) {
  uint64_t address = 0, bytes = size(w);
  w->wanted = on_pages(bytes);
  CUresult result = below(w, 4) ? p_cuMemAlloc_v2(&address, bytes) : p_cuMemAllocManaged(&address, bytes, 1);
  keep(w, o, result, LINEAR, address, bytes);
  return say(w, "linear", bytes, result);
}
static CUresult pitched(struct worker *w, struct object *o) {
  uint64_t address = 0, width = 1 + below(w, 5000), height = 1 + size(w) / round_up(width, 512);
  size_t pitch = 0;
  if (height > UINT64_C(1) << 40) height = UINT64_C(1) << 40;
  w->wanted = on_pages(round_up(width, 512) * height);
  CUresult result = p_cuMemAllocPitch_v2(&address, &pitch, width, height, 4);
  keep(w, o, result, LINEAR, address, w->wanted);
  return say(w, "pitched", w->wanted, result);
}
struct shape {
  size_t width, height, depth;
  unsigned format, channels, flags;
};
static CUresult array(struct worker *w, struct object *o) {
  static const unsigned formats[] = {0x01, 0x02, 0x03, 0x10, 0x20, 0x91, 0x93, 0xc2, 0xc5, 0xb0};
  struct shape s = {1 + below(w, 2000), below(w, 3) ? 1 + below(w, 2000) : 0, 0, formats[below(w, 10)], 1U << below(w, 3), 0};
  if (s.format == 0xb0) s.channels = 3, s.height = s.height / 2 * 2, s.width = (s.width + 1) / 2 * 2;
  if (s.height && below(w, 3) == 0) s.depth = 1 + below(w, 8);
  if (s.depth && below(w, 3) == 0) s.flags = 1;
  if (below(w, 12) == 0) s.flags |= 0x40;
  uint64_t value = 0;
  unsigned levels = s.height && s.format != 0xb0 && below(w, 3) == 0 ? 1 + (unsigned)below(w, 6) : 0;
  w->wanted = 0;
  CUresult result = levels ? p_cuMipmappedArrayCreate(&value, &s, levels) : p_cuArray3DCreate_v2(&value, &s);
  keep(w, o, result, levels ? MIPMAP : ARRAY, value, 0);
  return say(w, levels ? "mipmap" : "array", s.width, result);
}
static CUresult pooled(struct worker *w, struct object *o) {
  uint64_t address = 0, bytes = size(w);
  struct object *pool = below(w, 2) ? slot(w, POOL) : NULL;
  w->wanted = round_up(bytes, POOL_STEP);
  CUresult result = pool ? p_cuMemAllocFromPoolAsync(&address, bytes, pool->value, NULL) : p_cuMemAllocAsync(&address, bytes, NULL);
  keep(w, o, result, POOLED, address, bytes);
  return say(w, pool ? "from a pool" : "async", bytes, result);
}
struct props {
  int type, handles, location, id;
  unsigned char rest[72];
};
static CUresult physical(struct worker *w, struct object *o) {
  struct props props = {1, 0, below(w, 10) ? 1 : 2, 0, {0}};
  uint64_t handle = 0, bytes = size(w);
  bytes = below(w, 8) ? (bytes > UINT64_MAX - STEP ? STEP : round_up(bytes, STEP)) : bytes;
  w->wanted = props.location == 1 ? bytes : 0;
  CUresult result = p_cuMemCreate(&handle, bytes, &props, 0);
  keep(w, o, result, HANDLE, handle, bytes);
  return say(w, "create", bytes, result);
}
static CUresult map(struct worker *w, struct object *o) {
  struct object *handle = slot(w, HANDLE);
  uint64_t address = 0;
  if (!handle || handle->bytes > UINT64_C(1) << 38) return 0;
  CUresult result = p_cuMemAddressReserve(&address, handle->bytes, 0, 0, 0);
  if (result) fail("cuMemAddressReserve", result);
  result = p_cuMemMap(address, handle->bytes, 0, handle->value, 0);
  keep(w, o, result, MAPPED, address, handle->bytes);
  return say(w, "map", handle->bytes, result);
}
static CUresult retain(struct worker *w, struct object *o) {
  struct object *mapped = slot(w, MAPPED);
  uint64_t handle = 0;
  if (!mapped) return 0;
  CUresult result = p_cuMemRetainAllocationHandle(&handle, (void *)(uintptr_t)(mapped->value + below(w, mapped->bytes)));
  keep(w, o, result, HANDLE, handle, mapped->bytes);
  return say(w, "retain", mapped->bytes, result);
}
static CUresult new_pool(struct worker *w, struct object *o) {
  struct props props = {1, 0, below(w, 6) ? 1 : 2, 0, {0}};
  uint64_t pool = 0, keep_bytes = below(w, 3) * 64 * MIB;
  CUresult result = p_cuMemPoolCreate(&pool, &props);
  if (!result) p_cuMemPoolSetAttribute(pool, 4, &keep_bytes);
  keep(w, o, result, POOL, pool, 0);
  return say(w, "pool", keep_bytes, result);
}

static CUresult end(struct worker *w, struct object *o) {
  CUresult result = 0;
  switch (o->kind) {
  case LINEAR: result = p_cuMemFree_v2(o->value); break;
  case ARRAY: result = p_cuArrayDestroy(o->value); break;
  case MIPMAP: result = p_cuMipmappedArrayDestroy(o->value); break;
  case POOLED: result = below(w, 3) ? p_cuMemFreeAsync(o->value, NULL) : p_cuMemFree_v2(o->value); break;
  case HANDLE: result = p_cuMemRelease(o->value); break;
  case MAPPED:
    result = p_cuMemUnmap(o->value, o->bytes);
    if (!result) p_cuMemAddressFree(o->value, o->bytes);
    break;
  case POOL: result = p_cuMemPoolDestroy(o->value); break;
  default: return 0;
  }
  say(w, "end of kind", (uint64_t)o->kind, result);
  if (!result) o->kind = FREE_SLOT;
  return result;
}

static CUresult housekeeping(struct worker *w) {
  uint64_t pool = 0;
  struct object *own = slot(w, POOL);
  p_cuDeviceGetDefaultMemPool(&pool, 0);
  if (own && below(w, 2)) pool = own->value;
  uint64_t bytes = below(w, 4) * 64 * MIB;
  switch (below(w, 3)) {
  case 0: return say(w, "trim", bytes, p_cuMemPoolTrimTo(pool, bytes));
  case 1: return say(w, "threshold", bytes, p_cuMemPoolSetAttribute(pool, 4, &bytes));
  default: return say(w, "sync", 0, p_cuCtxSynchronize());
  }
}

static void context(struct worker *w, int which) {
  if (p_cuCtxCreate_v2(&w->contexts[which], 0, 0)) fail("cuCtxCreate", which);
  w->current = which;
}
// One thread only: a context that ends under another thread's call is the program's mistake.
static CUresult switch_context(struct worker *w) {
  int other = !w->current;
  if (below(w, 3) == 0 && w->contexts[other]) {
    for (int i = 0; i < OBJECTS; i++)
      if (w->objects[i].kind != FREE_SLOT && w->objects[i].context == other) w->objects[i].kind = FREE_SLOT;
    void *ended = w->contexts[other];
    w->contexts[other] = NULL;
    return say(w, "end of context", (uint64_t)other, p_cuCtxDestroy_v2(ended));
  }
  if (!w->contexts[other]) context(w, other);
  else p_cuCtxSetCurrent(w->contexts[other]);
  w->current = other;
  return say(w, "context", (uint64_t)other, 0);
}

static CUresult step(struct worker *w) {
  struct object *o = slot(w, FREE_SLOT), *any = &w->objects[below(w, OBJECTS)];
  uint64_t choice = below(w, 24);
  w->wanted = 0;
  strcpy(w->words, "nothing");
  if (!o || choice < 8) return end(w, any);
  if (choice < 12) return linear(w, o);
  switch (choice) {
  case 12: return pitched(w, o);
  case 13: case 14: return array(w, o);
  case 15: case 16: case 17: return pools ? pooled(w, o) : linear(w, o);
  case 18: case 19: return physical(w, o);
  case 20: return map(w, o);
  case 21: return retain(w, o);
  case 22: return housekeeping(w);
  default: return below(w, 2) ? new_pool(w, o) : threads == 1 ? switch_context(w) : 0;
  }
}

static void check(struct worker *w, long sequence, int at) {
  uint64_t ours = charged(), card = on_card();
  if (ours == card) return;
  if (atomic_fetch_add(&wrong, 1) < 5) {
    fprintf(stderr, "sequence %ld step %d, %s: charged %llu, on the card %llu\n", sequence, at, w->words, (unsigned long long)ours,
            (unsigned long long)card);
  }
}

static void sequence(struct worker *w, long number) {
  for (int i = 0; i < steps; i++) {
    CUresult result = step(w);
    atomic_fetch_add_explicit(&operations, 1, memory_order_relaxed);
    if (on_card() > limit) atomic_fetch_add(&above, 1);
    if (result == 2) {
      atomic_fetch_add_explicit(&refusals, 1, memory_order_relaxed);
      if (threads == 1 && w->wanted && w->wanted <= limit && on_card() + w->wanted <= limit) {
        if (atomic_fetch_add(&false_refusals, 1) < 5) fprintf(stderr, "refused though it fits: %s\n", w->words);
      }
    }
    if (threads == 1) check(w, number, i);
  }
  for (int round = 0; round < 4; round++) // again: an end may have been made to fail
    for (int i = 0; i < OBJECTS; i++)
      if (w->objects[i].kind != POOL || round) end(w, &w->objects[i]);
  if (threads == 1) {
    p_cuCtxSynchronize();
    check(w, number, -1);
  }
}

static void *work(void *argument) {
  struct worker *w = argument;
  p_cuCtxSetCurrent(w->contexts[0]);
  for (long i = 0; i < w->id; i++) next(w);
  sequence(w, w->id);
  pthread_barrier_wait(&barrier);
  return NULL;
}

static void storm(long number, uint64_t seed) {
  struct worker workers[16];
  pthread_t ids[16];
  static void *shared;
  memset(workers, 0, sizeof workers);
  if (!shared && p_cuCtxCreate_v2(&shared, 0, 0)) fail("cuCtxCreate", 0);
  pthread_barrier_init(&barrier, NULL, (unsigned)threads + 1);
  for (int i = 0; i < threads; i++) {
    workers[i].id = i;
    workers[i].contexts[0] = shared;
    workers[i].random = seed + (uint64_t)number * 1000 + (uint64_t)i;
    if (pthread_create(&ids[i], NULL, work, &workers[i])) fail("pthread_create", i);
  }
  pthread_barrier_wait(&barrier);
  for (int i = 0; i < threads; i++) pthread_join(ids[i], NULL);
  p_cuCtxSynchronize();
  strcpy(workers[0].words, "all threads at rest");
  check(&workers[0], number, -1);
}

int main(int argc, char **argv) {
  if (argc != 6 && argc != 7) fail("usage: hook-model LIMIT SEQUENCES STEPS SEED THREADS [no-pools]", argc);
  long sequences = atol(argv[2]);
  limit = strtoull(argv[1], NULL, 0);
  steps = atoi(argv[3]);
  uint64_t seed = strtoull(argv[4], NULL, 0);
  threads = atoi(argv[5]);
  pools = argc < 7;
  void *driver = dlopen("libcuda.so.1", RTLD_NOW);
#define FIND(name, parameters) *(void **)&p_##name = dlsym(driver, #name);
  CALLS(FIND)
  if (!driver || threads < 1 || threads > 16) fail("driver", threads);
  if (p_cuInit(0)) fail("cuInit", 0);
  int file = open(getenv("FAKE_CUDA_HEAP"), O_RDONLY);
  heap = mmap(NULL, sizeof *heap, PROT_READ, MAP_SHARED, file, 0);
  if (heap == MAP_FAILED) fail("FAKE_CUDA_HEAP", file);
  for (long i = 0; i < sequences; i++) {
    if (threads > 1) {
      storm(i, seed);
      continue;
    }
    static struct worker w;
    void *contexts[2] = {w.contexts[0], w.contexts[1]};
    memset(&w, 0, sizeof w);
    w.random = seed * 1000003 + (uint64_t)i;
    if (!contexts[0]) context(&w, 0);
    else w.contexts[0] = contexts[0], w.contexts[1] = contexts[1], p_cuCtxSetCurrent(contexts[0]);
    w.current = 0;
    sequence(&w, i);
    // The context that is current goes on; the other one ends, and with it whatever is left.
    if (w.current != 0) p_cuCtxSetCurrent(w.contexts[0]);
    if (w.contexts[0] == NULL) context(&w, 0);
  }
  printf("operations %ld refused %ld false %ld above %ld wrong %ld left %llu\n", operations, refusals, false_refusals, above, wrong,
         (unsigned long long)on_card());
  return 0;
}
