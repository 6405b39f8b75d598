// SPDX-License-Identifier: Apache-2.0
// Finding the real driver the way the loader would have, had this object not taken its name: what is loaded already, the loader's own search
// path (dlinfo), ld.so.cache, the usual folders. It is opened by its absolute path, which the loader takes for another file than
// "libcuda.so.1", and stays private (RTLD_LOCAL), so that every other look-up still ends here.
#include "driver.h"

#include <link.h>

#include "elf.h"
#include "find.h"
#include "hooks.h"
#include "real.h"
#include "sys.h"
#include "text.h"
#include "trampoline.h"

void *vram_real[NAMES];
uint32_t vram_gate;

#define DRIVER_NAME "libcuda.so.1"

enum { UNKNOWN = 0, ABSENT = 1, PRESENT = 2 };

static uint32_t state;         // of the look-up: UNKNOWN until someone finished it
static struct link_map *image; // the real driver

// Tells this object, under whatever name, from a driver; the number goes up when what it shares with others of its kind changes.
__attribute__((visibility("default"))) int penstock_vram_abi(void);
int penstock_vram_abi(void) { return 1; }

// Another copy of this object, under whatever name, is no driver.
static int is_driver(const struct link_map *map) {
  return elf_symbol(map->l_addr, map->l_ld, "penstock_vram_abi") == NULL && elf_symbol(map->l_addr, map->l_ld, "cuInit") != NULL;
}

static int try_path(const char *path) {
  struct link_map *map = open_library(path, is_driver);
  if (map != NULL) image = map;
  return map != NULL;
}

// Loaded under another name than ours: dlopen("libcuda.so"), or by its path.
static int try_loaded(void) {
  struct elf_object object;
  return elf_object_named("libcuda.so", &object) && object.name[0] == '/' && try_path(object.name);
}

static int find_driver(void) {
  if (try_loaded()) return 1;
  struct link_map *map = find_library(DRIVER_NAME, is_driver);
  if (map != NULL) image = map;
  return map != NULL;
}

// Two threads may both search; the loader gives both the same object. A driver's own constructor that calls back finds `state` unknown and
// searches in turn: the loader knows the object by then.
int driver_found(void) {
  uint32_t known = __atomic_load_n(&state, __ATOMIC_ACQUIRE);
  if (LIKELY(known != UNKNOWN)) return known == PRESENT;
  known = find_driver() ? PRESENT : ABSENT;
  __atomic_store_n(&state, known, __ATOMIC_RELEASE);
  return known == PRESENT;
}

int driver_adopt(const char *path) {
  if (__atomic_load_n(&state, __ATOMIC_ACQUIRE) == PRESENT) return 1;
  if (!try_path(path)) return 0;
  __atomic_store_n(&state, PRESENT, __ATOMIC_RELEASE);
  return 1;
}

void *driver_symbol(const char *name) { return driver_found() ? elf_symbol(image->l_addr, image->l_ld, name) : NULL; }

void *driver_handle(void) { return driver_found() ? image : NULL; }

const char *entry_name(uint32_t index) { return elf_own_name(entry_address(index)); }

void *entry_address(uint32_t index) { return (void *)(vram_trampolines + (size_t)index * TRAMPOLINE_SIZE); }

int entry_index(const void *address) {
  uintptr_t offset = (uintptr_t)address - (uintptr_t)vram_trampolines;
  return offset < (uintptr_t)NAMES * TRAMPOLINE_SIZE && offset % TRAMPOLINE_SIZE == 0 ? (int)(offset / TRAMPOLINE_SIZE) : -1;
}

static CUresult no_device(void) { return CUDA_ERROR_NO_DEVICE; }
static CUresult not_initialized(void) { return CUDA_ERROR_NOT_INITIALIZED; }
static CUresult not_supported(void) { return CUDA_ERROR_NOT_SUPPORTED; }

void *driver_bind(uint32_t index) {
  const char *name = entry_name(index);
  void *entry = name == NULL ? NULL : driver_symbol(name);
  if (entry == NULL) {
    entry = (void *)not_supported;
    if (!driver_found()) entry = index == I_cuInit ? (void *)no_device : (void *)not_initialized;
  }
  __atomic_store_n(&vram_real[index], entry, __ATOMIC_RELEASE);
  return entry;
}

int driver_has(uint32_t index) {
  void *entry = driver_entry(index);
  return entry != (void *)not_supported && entry != (void *)not_initialized && entry != (void *)no_device;
}

int gate_decide(void) {
  int active = ledger_active();
  entry_bind_hooks();
  hook_state_prepare();
  __atomic_store_n(&vram_gate, active ? 2U : 1U, __ATOMIC_RELEASE);
  return active;
}
