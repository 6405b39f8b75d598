// SPDX-License-Identifier: Apache-2.0
// Fake NVML: all cards of the fake machine, whatever CUDA_VISIBLE_DEVICES says, with what each process holds of them as the file
// named by FAKE_CUDA_HEAP tells (without it nothing is seen in use). Numbers of processes are those that they see themselves.
#include "nvml/api.h"

#include "fake/cuda/cards.h"
#include "fake/cuda/heap.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define API __attribute__((visibility("default")))

static struct cards cards;
static struct heap *heap;
static int users;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* FAKE_NVML_FAIL=name: that function answers 999. */
static int fails(const char *name) {
  const char *wanted = getenv("FAKE_NVML_FAIL");
  return wanted && !strcmp(wanted, name);
}
int fake_nvml_stub(const char *name);
int fake_nvml_stub(const char *name) {
  return fails(name) ? 999 : users ? NVML_ERROR_NOT_SUPPORTED : NVML_ERROR_UNINITIALIZED;
}

static nvmlReturn_t begin(void) {
  pthread_mutex_lock(&lock);
  if (!users++) {
    const char *path = getenv("FAKE_CUDA_HEAP");
    cards_read(&cards);
    if (!heap && path && *path) heap = heap_open(path);
  }
  pthread_mutex_unlock(&lock);
  return cards.count ? NVML_SUCCESS : 9; /* no driver */
}
API nvmlReturn_t nvmlInit(void) { return begin(); }
API nvmlReturn_t nvmlInit_v2(void) { return begin(); }
API nvmlReturn_t nvmlInitWithFlags(unsigned flags) {
  (void)flags;
  return begin();
}
/* The heap stays open: closing a file drops all record locks that the process has on it, the fake driver's too. */
API nvmlReturn_t nvmlShutdown(void) {
  pthread_mutex_lock(&lock);
  nvmlReturn_t result = users ? NVML_SUCCESS : NVML_ERROR_UNINITIALIZED;
  if (users) users--;
  pthread_mutex_unlock(&lock);
  return result;
}
API const char *nvmlErrorString(nvmlReturn_t error) { return error ? "fake error" : "Success"; }

static nvmlReturn_t text(char *out, unsigned length, const char *value) {
  if (!users) return NVML_ERROR_UNINITIALIZED;
  if (!out) return NVML_ERROR_INVALID_ARGUMENT;
  if (strlen(value) + 1 > length) return NVML_ERROR_INSUFFICIENT_SIZE;
  memcpy(out, value, strlen(value) + 1);
  return NVML_SUCCESS;
}
API nvmlReturn_t nvmlSystemGetDriverVersion(char *out, unsigned length) { return text(out, length, "999.01.02"); }
API nvmlReturn_t nvmlSystemGetNVMLVersion(char *out, unsigned length) { return text(out, length, "13.999.01.02"); }

/* A device's handle is the address of its card's memory. */
static int card_of(nvmlDevice_t device) {
  uint64_t *memory = (uint64_t *)(void *)device;
  return users && memory >= cards.memory && memory < cards.memory + cards.count ? (int)(memory - cards.memory) : -1;
}
static nvmlReturn_t by_index(unsigned index, nvmlDevice_t *out) {
  if (!users) return NVML_ERROR_UNINITIALIZED;
  if (!out || index >= (unsigned)cards.count) return NVML_ERROR_INVALID_ARGUMENT;
  *out = (nvmlDevice_t)(void *)&cards.memory[index];
  return NVML_SUCCESS;
}
API nvmlReturn_t nvmlDeviceGetHandleByIndex(unsigned index, nvmlDevice_t *out) { return by_index(index, out); }
API nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *out) { return by_index(index, out); }
API nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *out) {
  int card = uuid ? cards_named(&cards, uuid, strlen(uuid)) : -1;
  return card < 0 ? NVML_ERROR_NOT_FOUND : by_index((unsigned)card, out);
}
static nvmlReturn_t count_of(unsigned *out) {
  if (!users) return NVML_ERROR_UNINITIALIZED;
  if (!out) return NVML_ERROR_INVALID_ARGUMENT;
  *out = (unsigned)cards.count;
  return NVML_SUCCESS;
}
API nvmlReturn_t nvmlDeviceGetCount(unsigned *out) { return count_of(out); }
API nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *out) { return count_of(out); }

#define CARD(card, device)                                                                             \
  int card = card_of(device);                                                                          \
  if (fails(__func__)) return 999;                                                                     \
  if (card < 0) return users ? NVML_ERROR_INVALID_ARGUMENT : NVML_ERROR_UNINITIALIZED

API nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned *out) {
  CARD(card, device);
  *out = (unsigned)card;
  return NVML_SUCCESS;
}
API nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *out, unsigned length) {
  CARD(card, device);
  char name[64];
  snprintf(name, sizeof name, "Penstock fake card %d", card);
  return text(out, length, name);
}
API nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *out, unsigned length) {
  CARD(card, device);
  char uuid[48] = "GPU";
  const unsigned char *bytes = cards.uuid[card].bytes;
  for (int i = 0, at = 3; i < 16; i++) {
    if (i == 0 || i == 4 || i == 6 || i == 8 || i == 10) uuid[at++] = '-';
    at += snprintf(uuid + at, 3, "%02x", bytes[i]);
  }
  return text(out, length, uuid);
}

static uint64_t used_of(int card) {
  if (!heap) return 0;
  heap_lock();
  heap_reap(heap);
  uint64_t used = heap->used[card];
  heap_unlock();
  return used;
}
API nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *out) {
  CARD(card, device);
  if (!out) return NVML_ERROR_INVALID_ARGUMENT;
  uint64_t used = used_of(card), total = cards.memory[card];
  *out = (nvmlMemory_t){.total = total, .used = used, .free = total - used};
  return NVML_SUCCESS;
}
API nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *out) {
  CARD(card, device);
  if (!out) return NVML_ERROR_INVALID_ARGUMENT;
  if (out->version != (sizeof *out | 2u << 24)) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
  uint64_t used = used_of(card), total = cards.memory[card], reserved = total / 64;
  out->total = total, out->used = used, out->reserved = reserved;
  out->free = total - used > reserved ? total - used - reserved : 0;
  return NVML_SUCCESS;
}
API nvmlReturn_t nvmlDeviceGetBAR1MemoryInfo(nvmlDevice_t device, nvmlBAR1Memory_t *out) {
  CARD(card, device);
  if (!out) return NVML_ERROR_INVALID_ARGUMENT;
  *out = (nvmlBAR1Memory_t){.total = cards.memory[card], .free = cards.memory[card]};
  return NVML_SUCCESS;
}
API nvmlReturn_t nvmlDeviceGetAttributes_v2(nvmlDevice_t device, nvmlDeviceAttributes_t *out) {
  CARD(card, device);
  if (!out) return NVML_ERROR_INVALID_ARGUMENT;
  *out = (nvmlDeviceAttributes_t){.multiprocessors = 80, .memory_mb = cards.memory[card] >> 20};
  return NVML_SUCCESS;
}

/* ---- processes ---- */
static unsigned holders(int card, nvmlProcessInfo_v2_t out[HEAP_SLOTS]) {
  unsigned count = 0;
  if (!heap) return 0;
  heap_lock();
  heap_reap(heap);
  for (int i = 0; i < HEAP_SLOTS; i++) {
    const struct heap_slot *slot = &heap->slots[i];
    if (slot->state && slot->used[card])
      out[count++] = (nvmlProcessInfo_v2_t){slot->pid, slot->used[card], UINT32_MAX, UINT32_MAX};
  }
  heap_unlock();
  return count;
}
static nvmlReturn_t list(int card, unsigned *count, void *out, size_t size) {
  nvmlProcessInfo_v2_t all[HEAP_SLOTS];
  if (!count) return NVML_ERROR_INVALID_ARGUMENT;
  unsigned found = holders(card, all), room = *count;
  *count = found;
  if (found > room) return NVML_ERROR_INSUFFICIENT_SIZE;
  if (found && !out) return NVML_ERROR_INVALID_ARGUMENT;
  for (unsigned i = 0; i < found; i++) memcpy((char *)out + i * size, &all[i], size);
  return NVML_SUCCESS;
}
API nvmlReturn_t nvmlDeviceGetComputeRunningProcesses(nvmlDevice_t device, unsigned *count, nvmlProcessInfo_v1_t *out) {
  CARD(card, device);
  return list(card, count, out, sizeof *out);
}
API nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v2(nvmlDevice_t device, unsigned *count, nvmlProcessInfo_v2_t *out) {
  CARD(card, device);
  return list(card, count, out, sizeof *out);
}
API nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned *count, nvmlProcessInfo_v2_t *out) {
  CARD(card, device);
  return list(card, count, out, sizeof *out);
}
API nvmlReturn_t nvmlDeviceGetRunningProcessDetailList(nvmlDevice_t device, nvmlProcessDetailList_v1_t *out) {
  CARD(card, device);
  nvmlProcessInfo_v2_t all[HEAP_SLOTS];
  if (!out) return NVML_ERROR_INVALID_ARGUMENT;
  unsigned found = holders(card, all), room = out->count;
  out->count = found;
  if (found > room || (found && !out->list)) return NVML_ERROR_INSUFFICIENT_SIZE;
  for (unsigned i = 0; i < found; i++) out->list[i] = (nvmlProcessDetail_v1_t){all[i].pid, all[i].used, UINT32_MAX, UINT32_MAX, 0};
  return NVML_SUCCESS;
}
API nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t device, nvmlProcessUtilizationSample_t *out, unsigned *count,
                                                 unsigned long long since) {
  CARD(card, device);
  (void)since;
  nvmlProcessInfo_v2_t all[HEAP_SLOTS];
  if (!count) return NVML_ERROR_INVALID_ARGUMENT;
  unsigned found = holders(card, all), room = *count;
  *count = found;
  if (found > room || (found && !out)) return NVML_ERROR_INSUFFICIENT_SIZE;
  for (unsigned i = 0; i < found; i++) out[i] = (nvmlProcessUtilizationSample_t){.pid = all[i].pid, .sm = 10};
  return NVML_SUCCESS;
}
