// SPDX-License-Identifier: Apache-2.0
// The driver as most programs reach it: dlopen("libcuda.so.1"), then dlsym for each call. A slice's object answers in its place.
#ifndef PENSTOCK_PROGRAMS_DRIVER_CALLS_H
#define PENSTOCK_PROGRAMS_DRIVER_CALLS_H

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { GRANTED = 0, DENIED = 2 };

struct physical { // CUmemAllocationProp
  int type, handles, location, device;
  unsigned char rest[72];
};

static struct {
  int (*init)(unsigned);
  int (*context)(void **context, unsigned flags, int device);
  int (*set_current)(void *context);
  int (*alloc)(uint64_t *address, size_t bytes);
  int (*free)(uint64_t address);
  int (*pitch)(uint64_t *address, size_t *pitch, size_t width, size_t height, unsigned element);
  int (*managed)(uint64_t *address, size_t bytes, unsigned flags);
  int (*create)(uint64_t *handle, size_t bytes, const struct physical *properties, unsigned long long flags);
  int (*release)(uint64_t handle);
  int (*async)(uint64_t *address, size_t bytes, void *stream);
  int (*async_free)(uint64_t address, void *stream);
  int (*info)(size_t *available, size_t *total);
} cu;

__attribute__((noreturn)) static inline void give_up(const char *what, int code) {
  fprintf(stderr, "%s: %d\n", what, code);
  exit(70);
}

/** Finds the calls; nothing is asked of the driver yet. */
static inline void driver_bind(void) {
  void *driver = dlopen("libcuda.so.1", RTLD_NOW);
  if (!driver) give_up(dlerror(), 0);
  const char *names[] = {"cuInit", "cuCtxCreate_v2", "cuCtxSetCurrent", "cuMemAlloc_v2", "cuMemFree_v2", "cuMemAllocPitch_v2", "cuMemAllocManaged",
    "cuMemCreate", "cuMemRelease", "cuMemAllocAsync", "cuMemFreeAsync", "cuMemGetInfo_v2"};
  void **entries = (void **)&cu;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (!(entries[i] = dlsym(driver, names[i]))) give_up(names[i], 0);
}

static void *driver_context;

/** The driver is ready, with a context on device 0. */
static inline void driver_start(void) {
  driver_bind();
  int result = cu.init(0);
  if (!result) result = cu.context(&driver_context, 0, 0);
  if (result) give_up("no context", result);
}
/** What every further thread does first. */
static inline void driver_join(void) {
  int result = cu.set_current(driver_context);
  if (result) give_up("cuCtxSetCurrent", result);
}

static inline int physical_alloc(uint64_t *handle, size_t bytes) {
  struct physical properties = {.type = 1, .location = 1};
  return cu.create(handle, bytes, &properties, 0);
}

static inline uint64_t nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

/** xorshift64: the same sequence for the same seed everywhere. */
static inline uint64_t next_random(uint64_t *state) {
  *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
  return *state;
}

static inline uint64_t seed_of(uint64_t number) { return number * UINT64_C(0x9e3779b97f4a7c15) + 1; }

#endif
