// SPDX-License-Identifier: Apache-2.0
// The dlsym filter: the second layer behind the SONAME. It matters where a program opened the driver by a path or as "libcuda.so": names of
// the driver API found in such an object are answered with ours. Everything else goes on untouched (entry.S jumps); only names spelled
// cu[A-Z]… get here, and of these only exact names of the driver API are ever answered.
#include "driver.h"

#include "elf.h"
#include "real.h"
#include "sys.h"
#include "text.h"

#define RTLD_NEXT_ ((void *)-1L)
#define RTLD_DEFAULT_ NULL

typedef void *dlsym_function(void *handle, const char *name);

dlsym_function *vram_real_dlsym __attribute__((visibility("hidden")));
dlsym_function *dlsym_find_real(void) __attribute__((visibility("hidden")));
int dlsym_driver_name(void *handle, const char *name, const void *caller, void **result) __attribute__((visibility("hidden")));

static void *nobody(void *handle, const char *name) {
  (void)handle;
  (void)name;
  return NULL;
}

// The next definition behind this object, as RTLD_NEXT would find it, so that chains of preloaded objects keep their order. Not kept where
// none is found: glibc < 2.34 may bring libdl later.
dlsym_function *dlsym_find_real(void) {
  dlsym_function *found = (dlsym_function *)elf_next("dlsym");
  if (found == NULL) return nobody;
  store_release(&vram_real_dlsym, found);
  return found;
}

static dlsym_function *real_dlsym(void) {
  dlsym_function *known = load_acquire(&vram_real_dlsym);
  return known != NULL ? known : dlsym_find_real();
}

static int is_driver_file(const char *path) {
  const char *name = path;
  for (const char *c = path; *c != 0; c++) {
    if (*c == '/') name = c + 1;
  }
  return text_begins(name, "libcuda.so");
}

// An object before this one asks for the next definition: whatever lies between is its business. Behind this one nobody else has the driver's
// names in the global scope (the real driver is private), so the next is this object again; our entries never call back through the scope.
static int is_before(const void *caller) {
  struct elf_object object;
  return elf_object_at(caller, &object) && object.place < elf_self_place();
}

// The driver lacks it, or it is kept back: NULL, with dlerror() set by a look-up that fails in the driver.
static void *missing(const char *name) {
  void *handle = driver_handle();
  return handle == NULL ? NULL : real_dlsym()(handle, name == NULL ? "cu penstock" : name);
}

static int known_name(void *handle, const char *name, void *entry, const void *caller, void **result) {
  uint32_t index = (uint32_t)entry_index(entry);
  void *found = entry;
  if (handle != RTLD_NEXT_) found = real_dlsym()(handle, name);
  else if (is_before(caller)) return 0;
  *result = found;
  if (found == NULL) return 1;
  if (found == entry) {
    // A program that probes for newer entry points must see what the real driver has.
    if (driver_found() && !driver_has(index)) *result = missing(name);
    return 1;
  }
  if (!quota_active()) return 1;
  struct elf_object object;
  if (found != driver_symbol(name)) {
    if (!elf_object_at(found, &object) || !is_driver_file(object.name)) return 1;
    driver_adopt(object.name);
  }
  *result = entry;
  return 1;
}

// A name that came after this release, or a program's own. Only a handle can be asked from here: the two pseudo-handles mean the caller's scope.
// No driver is looked for unless the handle stands for one.
static int newer_name(void *handle, const char *name, void **result) {
  if (handle == RTLD_NEXT_ || handle == RTLD_DEFAULT_) return 0;
  struct elf_object object;
  void *found = real_dlsym()(handle, name);
  if (found == NULL) {
    void *init = real_dlsym()(handle, "cuInit");
    if (init != NULL && elf_is_self(init) && elf_is_own_handle(handle)) found = driver_symbol(name);
    // The error is the one of the name that was asked for.
    if (found == NULL) return 0;
  }
  *result = found;
  int of_driver = elf_object_at(found, &object) && is_driver_file(object.name);
  if (of_driver && quota_active() && name_is_kept_back(name)) *result = missing(NULL);
  return 1;
}

// 1: *result is the answer. 0: go on to the real dlsym as if nobody had looked.
int dlsym_driver_name(void *handle, const char *name, const void *caller, void **result) {
  void *entry = elf_own_export(name);
  if (entry == NULL || entry_index(entry) < 0) return newer_name(handle, name, result);
  return known_name(handle, name, entry, caller, result);
}
