// SPDX-License-Identifier: Apache-2.0
// Finding the real NVML, and binding the trampolines of entry.S to it.
#include "nvml/real.h"

#include "vram/elf.h"
#include "vram/find.h"
#include "vram/sys.h"
#include "vram/text.h"

enum { TRAMPOLINE_SIZE = 32, UNKNOWN = 0, ABSENT, PRESENT };

extern const char nvml_trampolines[] __attribute__((visibility("hidden")));
void *nvml_bind(uint32_t index);

static struct link_map *library;
static uint32_t state;

// Tells this object, under whatever name, from the vendor's.
EXPORT int penstock_nvml_abi(void);
int penstock_nvml_abi(void) { return 1; }

static int is_nvml(const struct link_map *map) {
  return !elf_symbol(map->l_addr, map->l_ld, "penstock_nvml_abi") && elf_symbol(map->l_addr, map->l_ld, "nvmlInit_v2") != NULL;
}

// Two threads may both search; the loader gives both the same object.
static int found(void) {
  uint32_t known = load_acquire(&state);
  if (known != UNKNOWN) return known == PRESENT;
  struct link_map *map = find_library("libnvidia-ml.so.1", is_nvml);
  store_release(&library, map);
  store_release(&state, map ? PRESENT : ABSENT);
  return map != NULL;
}

void *nvml_real(const char *name) { return found() ? elf_symbol(library->l_addr, library->l_ld, name) : NULL; }

static nvmlReturn_t no_library(void) { return NVML_ERROR_LIBRARY_NOT_FOUND; }
static nvmlReturn_t no_function(void) { return NVML_ERROR_FUNCTION_NOT_FOUND; }
void *nvml_missing(void) { return found() ? (void *)no_function : (void *)no_library; }

void *nvml_bind(uint32_t index) {
  extern void *nvml_bound[];
  const char *name = elf_own_name(nvml_trampolines + (size_t)index * TRAMPOLINE_SIZE);
  void *function = name ? nvml_real(name) : NULL;
  if (!function) function = nvml_missing();
  store_release(&nvml_bound[index], function);
  return function;
}

typedef const char *error_string(nvmlReturn_t error);
EXPORT const char *nvmlErrorString(nvmlReturn_t error);
EXPORT const char *nvmlErrorString(nvmlReturn_t error) {
  error_string *real = (error_string *)nvml_real(__func__);
  if (real) return real(error);
  return error == NVML_ERROR_LIBRARY_NOT_FOUND ? "NVML Shared Library Not Found" : "Function Not Found";
}
