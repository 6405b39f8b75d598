// SPDX-License-Identifier: Apache-2.0
// pool-stall FILE [pool|pooled|external]: one thread's call of the driver does not return (FAKE_CUDA_STALL names it, and FILE) while the others use pools.
//   pool      it allocates from a pool
//   pooled    it frees what came from a pool
//   external  it frees a mapping of external memory, of which nobody here knows
// Prints `alloc N free N destroy N seconds N then N`: the answers to an allocation from a pool, to a free of what came from one, and to the end of another pool meanwhile,
// the seconds that these took, and the answer to an allocation behind it all.
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "programs/driver-calls.h"

struct properties { // CUmemPoolProps
  int type, handles, location, device;
  unsigned char rest[72];
};
struct external { // CUDA_EXTERNAL_MEMORY_HANDLE_DESC
  int type, pad;
  uint64_t handle[2], bytes;
  unsigned flags, reserved[16];
};
struct part { // CUDA_EXTERNAL_MEMORY_BUFFER_DESC
  uint64_t offset, bytes;
  unsigned flags, reserved[16];
};

static const char *mode;
static uint64_t address;

static void *call(const char *name) {
  void *found = dlsym(RTLD_DEFAULT, name);
  if (!found) give_up(name, 0);
  return found;
}

static void *stalled(void *unused) {
  driver_join();
  int result = strcmp(mode, "pool") ? cu.free(address) : cu.async(&address, 1000, NULL);
  if (result) give_up("the stalled call", result);
  return unused;
}

static void *other;
static int destroyed;
static void *destroy(void *unused) {
  driver_join();
  destroyed = ((int (*)(void *))call("cuMemPoolDestroy"))(other);
  return unused;
}

static void set_up(void) {
  struct external memory = {.type = 1, .bytes = 4096};
  struct part part = {.bytes = 4096};
  void *external;
  int result = 0;
  if (!strcmp(mode, "pooled")) result = cu.async(&address, 1000, NULL);
  if (!strcmp(mode, "external")) {
    result = ((int (*)(void **, const struct external *))call("cuImportExternalMemory"))(&external, &memory);
    if (!result) result = ((int (*)(uint64_t *, void *, const struct part *))call("cuExternalMemoryGetMappedBuffer"))(&address, external, &part);
  }
  if (result) give_up("set up", result);
}

int main(int count, char **arguments) {
  if (count != 3) return 64;
  mode = arguments[2];
  alarm(40); // else a lock that is never given shows as a test that ran too long
  driver_start();
  struct properties properties = {.type = 1, .location = 1};
  uint64_t kept, more;
  pthread_t thread, second;
  int result = ((int (*)(void **, const struct properties *))call("cuMemPoolCreate"))(&other, &properties);
  // Behind an allocation that the stall has taken nobody waits: this is before it.
  if (strcmp(mode, "pool") && !result) result = cu.async(&kept, 1000, NULL);
  if (result) give_up("set up", result);
  set_up();
  if (pthread_create(&thread, NULL, stalled, NULL)) give_up("thread", 0);
  while (access(arguments[1], F_OK)) usleep(1000);
  uint64_t since = nanoseconds();
  if (pthread_create(&second, NULL, destroy, NULL)) give_up("thread", 0);
  int allocated = cu.async(&more, 1000, NULL);
  uint64_t waited = nanoseconds() - since;
  int freed = !strcmp(mode, "pool") ? 0 : cu.async_free(kept, NULL);
  pthread_join(second, NULL);
  unlink(arguments[1]);
  pthread_join(thread, NULL);
  int then = cu.async(&more, 1000, NULL);
  printf("alloc %d free %d destroy %d seconds %d then %d\n", allocated, freed, destroyed, (int)((waited + 500000000) / 1000000000), then);
  return 0;
}
