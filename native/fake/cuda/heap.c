// SPDX-License-Identifier: Apache-2.0
#include "heap.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const uint64_t magic = 0x70616568656b6166;
static int file = -1;
static int own = -1;

/* Classic record locks: a forked child does not inherit them, and they end with the process. */
static struct flock slot_lock(int slot, short type) {
  return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)(1 << 20) + slot, .l_len = 1};
}

static char name[4096];
/* Nothing here ever closes it: that would drop all record locks that the process has on the file, the fake NVML's or driver's too. */
static int open_file(void) { return open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600); }

/* The file's lock is between processes: threads share the descriptor. */
static pthread_mutex_t threads = PTHREAD_MUTEX_INITIALIZER;

void heap_lock(void) {
  pthread_mutex_lock(&threads);
  while (flock(file, LOCK_EX)) {
    if (errno != EBADF) continue;
    /* The program closed all descriptors: take the slot again. */
    file = open_file();
    if (file < 0) return;
    struct flock lock = slot_lock(own < 0 ? HEAP_SLOTS : own, F_WRLCK);
    fcntl(file, F_SETLK, &lock);
  }
}

void heap_unlock(void) {
  flock(file, LOCK_UN);
  pthread_mutex_unlock(&threads);
}

struct heap *heap_open(const char *path) {
  snprintf(name, sizeof name, "%s", path);
  file = open_file();
  if (file < 0) return NULL;
  heap_lock();
  struct stat status;
  bool fresh = !fstat(file, &status) && status.st_size < (off_t)sizeof(struct heap);
  if (fresh && ftruncate(file, sizeof(struct heap))) return NULL;
  void *mapped = mmap(NULL, sizeof(struct heap), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  struct heap *heap = mapped == MAP_FAILED ? NULL : mapped;
  if (heap && !heap->magic) heap->magic = magic;
  if (heap && heap->magic != magic) heap = NULL;
  heap_unlock();
  return heap;
}

/* When the process started, in ticks; never 0. The first processes of two containers are both number 1. */
static uint32_t started(void) {
  char text[1024] = {0};
  int stat = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
  ssize_t size = stat < 0 ? 0 : read(stat, text, sizeof text - 1);
  if (stat >= 0) close(stat);
  const char *at = size > 0 ? strrchr(text, ')') : NULL;
  for (int field = 2; at && field < 22; field++) at = strchr(at + 1, ' ');
  return at ? (uint32_t)strtoull(at, NULL, 10) | 1 : 1;
}

/* A process does not see its own record locks, so the fake NVML of the same process goes by number and start. */
static bool alive(const struct heap *heap, int slot) {
  if (slot == own || (heap->slots[slot].pid == (uint32_t)getpid() && heap->slots[slot].state == started())) return true;
  struct flock lock = slot_lock(slot, F_WRLCK);
  return fcntl(file, F_GETLK, &lock) || lock.l_type != F_UNLCK;
}

void heap_reap(struct heap *heap) {
  uint64_t used[HEAP_DEVICES] = {0};
  for (int i = 0; i < HEAP_SLOTS; i++) {
    struct heap_slot *slot = &heap->slots[i];
    if (slot->state && !alive(heap, i)) memset(slot, 0, sizeof *slot);
    for (int device = 0; device < HEAP_DEVICES; device++) used[device] += slot->used[device];
  }
  memcpy(heap->used, used, sizeof used);
}

int heap_claim(struct heap *heap) {
  heap_reap(heap);
  for (int i = 0; i < HEAP_SLOTS; i++) {
    struct flock lock = slot_lock(i, F_WRLCK);
    if (heap->slots[i].state || fcntl(file, F_SETLK, &lock)) continue;
    heap->slots[i].state = started();
    heap->slots[i].pid = (uint32_t)getpid();
    return own = i;
  }
  return -1;
}

void heap_forget(void) {
  threads = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
  if (file >= 0) close(file);
  file = own = -1;
}
