// SPDX-License-Identifier: Apache-2.0
// vram-use [--device N] [--hold] [BYTES...]: what a GPU program looks like to a person: allocates each of BYTES on the GPU, says what
// became of it and what is free, and ends; with --hold when its standard input does. Exit status 1 when something was refused.
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int (*init)(unsigned), (*get)(int *, int), (*create)(void **, unsigned, int), (*info)(size_t *, size_t *), (*alloc)(uint64_t *, size_t);

static void *find(void *driver, const char *name) {
  void *found = dlsym(driver, name);
  if (!found) fprintf(stderr, "vram-use: %s\n", dlerror());
  return found;
}

static int load(void) {
  void *driver = dlopen("libcuda.so.1", RTLD_NOW);
  if (!driver) {
    fprintf(stderr, "vram-use: %s\n", dlerror());
    return -1;
  }
  *(void **)&init = find(driver, "cuInit");
  *(void **)&get = find(driver, "cuDeviceGet");
  *(void **)&create = find(driver, "cuCtxCreate_v2");
  *(void **)&info = find(driver, "cuMemGetInfo_v2");
  *(void **)&alloc = find(driver, "cuMemAlloc_v2");
  return init && get && create && info && alloc ? 0 : -1;
}

int main(int argc, char **argv) {
  int at = 1, ordinal = 0, hold = 0, refused = 0, device;
  void *context;
  if (at + 1 < argc && !strcmp(argv[at], "--device")) ordinal = atoi(argv[at + 1]), at += 2;
  if (at < argc && !strcmp(argv[at], "--hold")) hold = 1, at++;
  if (load() < 0) return 3;
  int status = init(0);
  if (!status) status = get(&device, ordinal);
  if (!status) status = create(&context, 0, device);
  if (status) {
    fprintf(stderr, "vram-use: no GPU: error %d\n", status);
    return 3;
  }
  for (; at < argc; at++) {
    uint64_t address;
    status = alloc(&address, strtoull(argv[at], NULL, 10));
    printf("%s bytes: %s\n", argv[at], status == 0 ? "allocated" : status == 2 ? "out of memory" : "error");
    refused |= status != 0;
  }
  size_t free_bytes, total;
  if (!info(&free_bytes, &total)) printf("%zu of %zu bytes free\n", free_bytes, total);
  fflush(stdout);
  char sink[256];
  while (hold && read(0, sink, sizeof sink) > 0) {
  }
  return refused;
}
