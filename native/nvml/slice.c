// SPDX-License-Identifier: Apache-2.0
#include "nvml/slice.h"

#include "nvml/real.h"
#include "vram/core.h"
#include "vram/elf.h"
#include "vram/ledger.h"

typedef nvmlReturn_t get_uuid(nvmlDevice_t device, char *uuid, unsigned length);
typedef nvmlReturn_t get_index(nvmlDevice_t device, unsigned *index);
typedef char *get_variable(const char *name);

static int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// "GPU-8f7a…" or "MIG-…": digits behind the first dash. How many bytes were read.
static int read_uuid(const char *text, uint8_t uuid[16]) {
  int digits = 0;
  while (*text && *text != '-' && *text != ',') text++;
  for (; *text && *text != ',' && digits < 32; text++) {
    int value = hex(*text);
    if (value < 0) continue;
    uuid[digits / 2] = (uint8_t)(digits % 2 ? uuid[digits / 2] | value : value << 4);
    digits++;
  }
  return digits / 2;
}

enum { NOT_SHOWN = -1, NOT_KNOWN = -2, MOST_DEVICES = 64 };
typedef int get_count(int *count);
typedef int get_device(int *device, int ordinal);
typedef int get_cuda_uuid(uint8_t uuid[16], int device);

// CUDA counts in an order of its own (the fastest card first), so the driver is asked where the program has started it already.
static int driver_ordinal(const uint8_t uuid[16]) {
  struct elf_object driver;
  int count = 0;
  if (!elf_object_named("libcuda.so", &driver)) return NOT_KNOWN;
  get_count *count_of = (get_count *)elf_symbol(driver.base, driver.dynamic, "cuDeviceGetCount");
  get_device *device_of = (get_device *)elf_symbol(driver.base, driver.dynamic, "cuDeviceGet");
  get_cuda_uuid *uuid_of = (get_cuda_uuid *)elf_symbol(driver.base, driver.dynamic, "cuDeviceGetUuid_v2");
  if (!uuid_of) uuid_of = (get_cuda_uuid *)elf_symbol(driver.base, driver.dynamic, "cuDeviceGetUuid");
  if (!count_of || !device_of || !uuid_of || count_of(&count)) return NOT_KNOWN;
  for (int ordinal = 0; ordinal < count && ordinal < MOST_DEVICES; ordinal++) {
    uint8_t its[16] = {0};
    int device = 0, same = !device_of(&device, ordinal) && !uuid_of(its, device);
    for (int i = 0; i < 16; i++) same &= its[i] == uuid[i];
    if (same) return ordinal;
  }
  return NOT_SHOWN;
}

// Else by the variable, which lists numbers or the beginnings of UUIDs, and by NVML's own order.
static int variable_ordinal(int index, const uint8_t uuid[16]) {
  get_variable *variable = (get_variable *)elf_next("getenv");
  const char *at = variable ? variable("CUDA_VISIBLE_DEVICES") : NULL;
  if (!at) return index;
  for (int ordinal = 0; *at && ordinal < MOST_DEVICES; ordinal++) {
    uint8_t prefix[16] = {0};
    if (*at >= '0' && *at <= '9') {
      int number = 0;
      while (*at >= '0' && *at <= '9' && number < 1000) number = number * 10 + (*at++ - '0');
      if (number == index) return ordinal;
    } else {
      int bytes = read_uuid(at, prefix), same = bytes > 0;
      for (int i = 0; i < bytes; i++) same &= prefix[i] == uuid[i];
      if (same) return ordinal;
    }
    while (*at && *at != ',') at++;
    if (*at) at++;
  }
  return NOT_SHOWN;
}

// LEDGER_FREE where nothing is cut.
static int ledger_index(nvmlDevice_t device) {
  uint8_t uuid[16] = {0};
  char text[96] = {0};
  unsigned index = 0;
  if (!ledger_active()) return LEDGER_FREE;
  if (load_acquire(&ledger_mode) == LEDGER_BROKEN) return LEDGER_UNLISTED;
  get_uuid *uuid_of = (get_uuid *)nvml_real("nvmlDeviceGetUUID");
  get_index *index_of = (get_index *)nvml_real("nvmlDeviceGetIndex");
  int known = uuid_of && !uuid_of(device, text, sizeof text - 1) && read_uuid(text, uuid) == 16;
  int ordinal = known ? driver_ordinal(uuid) : NOT_KNOWN;
  if (ordinal == NOT_KNOWN) ordinal = index_of && !index_of(device, &index) ? variable_ordinal((int)index, uuid) : NOT_SHOWN;
  int listed = ledger_device(known ? uuid : NULL, ordinal);
  return listed == LEDGER_LATER ? LEDGER_UNLISTED : listed;
}

int slice_is_cut(nvmlDevice_t device) { return ledger_index(device) != LEDGER_FREE; }

uint64_t slice_limit(nvmlDevice_t device) {
  uint64_t limit = UINT64_MAX, used = 0;
  int index = ledger_index(device);
  if (index >= 0) ledger_report(index, &limit, &used);
  return index == LEDGER_UNLISTED ? 0 : limit;
}

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

void slice_memory(nvmlDevice_t device, unsigned long long *total, unsigned long long *free_bytes, unsigned long long *used) {
  int index = ledger_index(device);
  if (index == LEDGER_FREE) return;
  if (index == LEDGER_UNLISTED) { // nothing of it is this session's
    *free_bytes = 0;
    *used = *total;
    return;
  }
  uint64_t limit = UINT64_MAX, ours = 0;
  ledger_report(index, &limit, &ours);
  if (limit == UINT64_MAX) return;
  uint64_t left = limit > ours ? limit - ours : 0;
  *free_bytes = least(left, *free_bytes);
  if (!(ledger_flags() & CONTROL_FLAG_REPORT_PHYSICAL)) *total = least(limit, *total);
  // The card's other tenants may leave less than the slice: then what cannot be had counts as used.
  *used = *total > *free_bytes ? *total - *free_bytes : 0;
}

// Inode of this process's PID namespace, as slots carry it.
static uint64_t pid_namespace(void) {
  uint64_t status[32] = {0}; // struct stat: the inode is its second word on both machines
  return sys4(SYS_newfstatat, AT_FDCWD_, "/proc/self/ns/pid", status, 0) < 0 ? 0 : status[1];
}

static const struct ledger *ledger_view(void) {
  static const struct ledger *view;
  const struct ledger *now = load_acquire(&view), *none = NULL;
  const char *path = ledger_path();
  if (now || !path) return now;
  long fd = sys_open(path, O_RDONLY_);
  if (fd < 0) return NULL;
  now = file_is(fd, LEDGER_SIZE) ? NULL : sys_mmap(LEDGER_SIZE, PROT_READ_, MAP_SHARED_, fd);
  sys_close(fd);
  if (now && !compare_swap(&view, &none, now)) {
    sys_munmap((void *)(uintptr_t)now, LEDGER_SIZE);
    now = none;
  }
  return now;
}

int slice_has_process(uint32_t pid) {
  const struct ledger *ledger = ledger_view();
  uint64_t ours = pid_namespace();
  for (uint32_t i = 0; ledger && i < SLOTS; i++) {
    const struct slot_identity *slot = &ledger->slots[i];
    if (load_relaxed(&slot->state) == SLOT_USED && load_relaxed(&slot->pid) == pid && load_relaxed(&slot->pid_namespace) == ours) return 1;
  }
  return 0;
}
