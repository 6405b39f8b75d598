// SPDX-License-Identifier: Apache-2.0
// What is loaded in this process, read from the loader's own list: glibc and musl alike, no versioned import, no allocation.
#pragma once
#include <stddef.h>
#include <stdint.h>

// An object as the loader has it. `name` is the loader's text (empty for the program) and stays as long as the object is loaded.
struct elf_object {
  const char *name;
  uintptr_t base;
  const uintptr_t *dynamic;
  int place; // 0 = the program, in the order of symbol search
};

// 1 where the address lies in this object's image.
int elf_is_self(const void *address);
// 1 where the loader's handle (that of an open object) is this object's own, not the whole program's.
int elf_is_own_handle(const void *handle);
// The first definition of a name behind this object in search order: what RTLD_NEXT would give. NULL where nobody has it.
void *elf_next(const char *name);
// A definition in one object, by its load address and dynamic section, or NULL. Never touches dlerror().
void *elf_symbol(uintptr_t base, const void *dynamic, const char *name);
// The object that holds an address. 1 found.
int elf_object_at(const void *address, struct elf_object *out);
// Place of this object in the search order, -1 unknown.
int elf_self_place(void);
// The first loaded object whose file name begins with `prefix` and which is not this one. 1 found.
int elf_object_named(const char *prefix, struct elf_object *out);
// This object's own export of that name, or NULL.
void *elf_own_export(const char *name);
// This object's exported name of an address, or NULL.
const char *elf_own_name(const void *address);
