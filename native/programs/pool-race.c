// SPDX-License-Identifier: Apache-2.0
// pool-race LIMIT ROUNDS: one process uses again and again what its pool has cached (a quarter of LIMIT), from two threads; another asks each round
// for eleven sixteenths, linear or from a pool of its own, which always fits beside it. Prints `rounds N recycled N denied N own N above N`: denials of the
// second and of the first process, and samples of the card (FAKE_CUDA_HEAP) above LIMIT. All but the first two have to be 0.
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake/cuda/heap.h"
#include "programs/driver-calls.h"

enum { RELEASE_THRESHOLD = 4 };
static uint64_t piece; // half of what the pool has cached
static struct meeting {
  atomic_int ready, stop;
  atomic_ulong recycled, denied;
} *meeting;

static void *call(const char *name) {
  void *found = dlsym(RTLD_DEFAULT, name);
  if (!found) give_up(name, 0);
  return found;
}

static void *recycle(void *unused) {
  driver_join();
  while (!atomic_load(&meeting->stop)) {
    uint64_t address;
    int result = cu.async(&address, piece, NULL);
    if (result == DENIED) atomic_fetch_add(&meeting->denied, 1);
    else if (result || (result = cu.async_free(address, NULL))) give_up("recycle", result);
    atomic_fetch_add(&meeting->recycled, 1);
    atomic_store(&meeting->ready, 1);
  }
  return unused;
}

static void first(uint64_t cached) {
  driver_start();
  piece = cached / 2;
  void *pool;
  uint64_t address, most = UINT64_MAX;
  int result = ((int (*)(void **, int))call("cuDeviceGetDefaultMemPool"))(&pool, 0);
  if (!result) result = ((int (*)(void *, int, void *))call("cuMemPoolSetAttribute"))(pool, RELEASE_THRESHOLD, &most);
  if (!result) result = cu.async(&address, cached, NULL);
  if (!result) result = cu.async_free(address, NULL);
  pthread_t other;
  if (result || pthread_create(&other, NULL, recycle, NULL)) give_up("pool", result);
  recycle(NULL);
  pthread_join(other, NULL);
}

int main(int count, char **arguments) {
  if (count != 3) return 64;
  uint64_t limit = strtoull(arguments[1], NULL, 10), denied = 0, above = 0;
  int rounds = atoi(arguments[2]), status = 0;
  meeting = mmap(NULL, sizeof *meeting, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pid_t child = fork();
  if (child == 0) {
    first(limit / 4);
    _exit(0);
  }
  driver_start();
  const volatile struct heap *heap = mmap(NULL, sizeof *heap, PROT_READ, MAP_SHARED, open(getenv("FAKE_CUDA_HEAP"), O_RDONLY), 0);
  int (*synchronize)(void) = (int (*)(void))call("cuCtxSynchronize");
  if (heap == MAP_FAILED) give_up("FAKE_CUDA_HEAP", 0);
  while (!atomic_load(&meeting->ready) && !waitpid(child, &status, WNOHANG)) usleep(100);
  for (int i = 0; i < rounds && !status; i++) {
    uint64_t address, bytes = limit / 16 * 11;
    int result = i % 2 ? cu.async(&address, bytes, NULL) : cu.alloc(&address, bytes);
    above += heap->used[0] > limit;
    if (result == DENIED) denied++;
    else if (result || (result = i % 2 ? cu.async_free(address, NULL) : cu.free(address))) give_up("neighbour", result);
    if (i % 2) synchronize(); // the pool lets it go
  }
  atomic_store(&meeting->stop, 1);
  if (!status) waitpid(child, &status, 0);
  printf("rounds %d recycled %lu denied %llu own %lu above %llu\n", rounds, atomic_load(&meeting->recycled), (unsigned long long)denied,
         atomic_load(&meeting->denied), (unsigned long long)above);
  return status ? 70 : 0;
}
