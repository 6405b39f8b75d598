// SPDX-License-Identifier: Apache-2.0
// A driver of another time: it lacks most entry points, and has some that came after this release. Built as odd/libcuda.so.1.
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define PROTOTYPE(declaration) \
  EXPORT declaration;          \
  EXPORT declaration

enum { OURS = 13050, NEWER = 15000 };

PROTOTYPE(int cuInit(unsigned flags)) { return (int)flags; }
PROTOTYPE(int cuDeviceGetCount(int *count)) { return *count = 1, 0; }
PROTOTYPE(int cuMemAlloc_v2(uint64_t *address, size_t bytes)) { return *address = bytes, 0; }
PROTOTYPE(int cuMemAlloc_v9(uint64_t *address, size_t bytes, int how)) { return *address = bytes, how; }
PROTOTYPE(int cuMemAllocShiny(uint64_t *address)) { return *address = 1, 0; }
PROTOTYPE(int cuCtxCreate_v9(void)) { return 0; }
PROTOTYPE(int cuShine(void)) { return 7; }

// As the program gets it that asks for per-thread streams: no exported function.
static int inner_look_up(const char *name, void **found, int version, unsigned long long flags, int *status);

PROTOTYPE(int cuGetProcAddress_v2(const char *name, void **found, int version, unsigned long long flags, int *status)) {
  *found = NULL;
  if (!strcmp(name, "cuMemAlloc")) *found = version > OURS ? (void *)cuMemAlloc_v9 : (void *)cuMemAlloc_v2;
  if (!strcmp(name, "cuCtxCreate") && version > OURS) *found = (void *)cuCtxCreate_v9;
  if (!strcmp(name, "cuMemAllocShiny")) *found = (void *)cuMemAllocShiny;
  if (!strcmp(name, "cuGetProcAddress")) *found = (flags & 2) != 0 ? (void *)inner_look_up : (void *)cuGetProcAddress_v2;
  if (!strcmp(name, "cuShine")) *found = (void *)cuShine;
  if (status) *status = !*found;
  return *found ? 0 : 500;
}

static int inner_look_up(const char *name, void **found, int version, unsigned long long flags, int *status) {
  return cuGetProcAddress_v2(name, found, version, flags | 2, status);
}
