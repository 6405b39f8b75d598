// SPDX-License-Identifier: Apache-2.0
// pool-free-race churn|destroy LIMIT ROUNDS: threads of one process give back what came from pools by cuMemFree, which need not know of streams, while
//   churn    others allocate from the same pool, and linearly, at the limit;
//   destroy  another one destroys the pool that it came from, of which something else is still in use.
// Prints `rounds N granted N above N more N less N`: samples of the card (FAKE_CUDA_HEAP) above LIMIT, and moments of rest at which more or less was charged
// than the card had given out. The last three have to be 0.
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "fake/cuda/heap.h"
#include "programs/driver-calls.h"

enum { THREADS = 4, STEPS = 24, LIVE = 4 };
struct properties { // CUmemPoolProps
  int type, handles, location, device;
  unsigned char rest[72];
};

static uint64_t limit;
static int rounds;
static const volatile struct heap *heap;
static atomic_ulong granted, above, more, less;
static pthread_barrier_t barrier;
static int (*synchronize)(void), (*pool_create)(void **, const struct properties *), (*pool_destroy)(void *);
static int (*from_pool)(uint64_t *, size_t, void *, void *);

static void *call(const char *name) {
  void *found = dlsym(RTLD_DEFAULT, name);
  if (!found) give_up(name, 0);
  return found;
}

static void sample(void) { above += heap->used[0] > limit; }

/** All threads stand still. */
static void compare(void) {
  size_t available, total;
  synchronize();
  if (cu.info(&available, &total)) give_up("info", 0);
  int64_t off = (int64_t)(limit - available) - (int64_t)heap->used[0];
  more += off > 0;
  less += off < 0;
}

/* ---- churn ---- */

/** One step: something more, or one of what there is goes back. How much there is then. */
static int churn_once(uint64_t *random, uint64_t addresses[LIVE], int live) {
  if (live < LIVE && next_random(random) % 3) {
    uint64_t bytes = next_random(random) % (limit / 4) + 1;
    int result = next_random(random) % 4 ? cu.async(&addresses[live], bytes, NULL) : cu.alloc(&addresses[live], bytes);
    sample();
    if (result && result != DENIED) give_up("churn", result);
    granted += result == GRANTED;
    return live + (result == GRANTED);
  }
  if (live == 0) return 0;
  int result = cu.free(addresses[live - 1]);
  if (result) give_up("free", result);
  if (next_random(random) % 8 == 0) synchronize();
  return live - 1;
}

static void *churn(void *number) {
  uint64_t random = seed_of((uint64_t)(uintptr_t)number), addresses[LIVE];
  driver_join();
  for (int round = 0, live = 0; round < rounds; round++) {
    for (int step = 0; step < STEPS; step++) live = churn_once(&random, addresses, live);
    if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD) compare();
    pthread_barrier_wait(&barrier);
  }
  return NULL;
}

static void run_churn(void) {
  pthread_t threads[THREADS];
  pthread_barrier_init(&barrier, NULL, THREADS);
  for (uintptr_t i = 0; i < THREADS; i++)
    if (pthread_create(&threads[i], NULL, churn, (void *)(i + 1))) give_up("thread", 0);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
}

/* ---- destroy ---- */

static void *doomed;

static void *destroyer(void *unused) {
  driver_join();
  for (int round = 0; round < rounds; round++) {
    pthread_barrier_wait(&barrier);
    if (pool_destroy(doomed)) give_up("cuMemPoolDestroy", 0);
    pthread_barrier_wait(&barrier);
  }
  return unused;
}

static void run_destroy(void) {
  struct properties properties = {.type = 1, .location = 1};
  uint64_t given, kept, rest = limit / 2;
  pthread_t other;
  pthread_barrier_init(&barrier, NULL, 2);
  if (pthread_create(&other, NULL, destroyer, NULL)) give_up("thread", 0);
  for (int round = 0; round < rounds; round++) {
    int result = pool_create(&doomed, &properties);
    if (!result) result = from_pool(&given, limit / 4, doomed, NULL);
    if (!result) result = from_pool(&kept, rest, doomed, NULL);
    if (result) give_up("set up", result);
    pthread_barrier_wait(&barrier);
    if ((result = cu.free(given))) give_up("free", result);
    pthread_barrier_wait(&barrier);
    compare();
    if ((result = cu.free(kept))) give_up("free", result);
    compare();
    granted++;
  }
  pthread_join(other, NULL);
}

int main(int count, char **arguments) {
  if (count != 4) return 64;
  limit = strtoull(arguments[2], NULL, 10);
  rounds = atoi(arguments[3]);
  driver_start();
  synchronize = (int (*)(void))call("cuCtxSynchronize");
  pool_create = (int (*)(void **, const struct properties *))call("cuMemPoolCreate");
  pool_destroy = (int (*)(void *))call("cuMemPoolDestroy");
  from_pool = (int (*)(uint64_t *, size_t, void *, void *))call("cuMemAllocFromPoolAsync");
  heap = mmap(NULL, sizeof *heap, PROT_READ, MAP_SHARED, open(getenv("FAKE_CUDA_HEAP"), O_RDONLY), 0);
  if (heap == MAP_FAILED) give_up("FAKE_CUDA_HEAP", 0);
  if (!strcmp(arguments[1], "destroy")) run_destroy();
  else run_churn();
  printf("rounds %d granted %lu above %lu more %lu less %lu\n", rounds, granted, above, more, less);
  return 0;
}
