// SPDX-License-Identifier: Apache-2.0
// The real driver as an object, for the parts that look names up: the dlsym filter and cuGetProcAddress.
#pragma once
#include <stdint.h>

// A variant that an entry-point look-up may ask for.
struct variant {
  const char *base;
  int version;
  int per_thread;
  uint32_t index;
};

extern const char vram_trampolines[] __attribute__((visibility("hidden")));

// Our exported entry of an index, and back: -1 where the address is none.
void *entry_address(uint32_t index);
int entry_index(const void *address);
const char *entry_name(uint32_t index);
// 1 where that index has a hook.
int entry_is_hooked(uint32_t index);
// Binds every hooked name.
void entry_bind_hooks(void);

// A name of the real driver, NULL where it or the driver is missing.
void *driver_symbol(const char *name);
// The loader's handle of the real driver, or NULL.
void *driver_handle(void);
// A driver that the program loaded by its path becomes the real one, where none was found. 1 where there is one now.
int driver_adopt(const char *path);
// A name of the driver API that this release does not know and that by its spelling allocates: kept back while a quota holds, since a caller
// copes with a missing entry point but nobody would count what it takes.
int name_is_kept_back(const char *name);
