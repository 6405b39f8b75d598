// SPDX-License-Identifier: Apache-2.0
// Finding the real driver the way the loader would have, had this object not taken its name: what is loaded already, the loader's own search
// path (dlinfo), ld.so.cache, the usual folders. It is opened by its absolute path, which the loader takes for another file than
// "libcuda.so.1", and stays private (RTLD_LOCAL), so that every other look-up still ends here.
#include "driver.h"

#include <elf.h>
#include <link.h>

#include "elf.h"
#include "hooks.h"
#include "real.h"
#include "sys.h"
#include "text.h"
#include "trampoline.h"

void *vram_real[NAMES];
uint32_t vram_gate;

#define DRIVER_NAME "libcuda.so.1"
#define PATH_BYTES 4096
#define CACHE_BYTES (4U << 20) // ld.so.cache; about 200 KiB on a large machine
#define SEARCH_BYTES 65536U    // dlinfo's answer
#define RTLD_LAZY_ 1
#define RTLD_NOW_ 2
#define RTLD_DI_SERINFO_ 4
#define RTLD_DI_SERINFOSIZE_ 5

#if defined(__x86_64__)
#define MACHINE EM_X86_64
#else
#define MACHINE EM_AARCH64
#endif

enum { UNKNOWN = 0, ABSENT = 1, PRESENT = 2 };

static uint32_t state;         // of the look-up: UNKNOWN until someone finished it
static struct link_map *image; // the real driver

typedef void *open_function(const char *path, int flags);
typedef int info_function(void *handle, int request, void *out);
struct search_path { // Dl_serinfo of <dlfcn.h>, which needs _GNU_SOURCE and brings the libc's other names
  size_t size;
  unsigned count;
  struct {
    char *name;
    unsigned flags;
  } entries[];
};

static void *scratch(size_t size) {
  return sys_mmap(size, PROT_READ_ | PROT_WRITE_, MAP_PRIVATE_ | MAP_ANONYMOUS_ | MAP_NORESERVE_, -1);
}

static open_function *real_dlopen(void) {
  void *found = elf_next("dlopen");
  // glibc < 2.34 in a program without libdl.
  if (found == NULL) found = elf_next("__libc_dlopen_mode");
  return (open_function *)found;
}

// 1 where the file is an ELF object of this process's class and machine: only such a file is given to the loader, whose failures would
// otherwise show in the program's dlerror().
static int is_fitting(const char *path) {
  ElfW(Ehdr) header;
  long fd = sys_open(path, O_RDONLY_);
  if (fd < 0) return 0;
  long got = sys_read(fd, &header, sizeof header);
  sys_close(fd);
  return got == (long)sizeof header && header.e_ident[0] == 0x7f && header.e_ident[1] == 'E' && header.e_ident[2] == 'L' &&
         header.e_ident[3] == 'F' && header.e_ident[EI_CLASS] == ELFCLASS64 &&
         header.e_machine == MACHINE && header.e_type == ET_DYN;
}

// Tells this object, under whatever name, from a driver; the number goes up when what it shares with others of its kind changes.
__attribute__((visibility("default"))) int penstock_vram_abi(void);
int penstock_vram_abi(void) { return 1; }

// Another copy of this object, under whatever name, is no driver.
static int is_driver(const struct link_map *map) {
  return map != NULL && elf_symbol(map->l_addr, map->l_ld, "penstock_vram_abi") == NULL && elf_symbol(map->l_addr, map->l_ld, "cuInit") != NULL;
}

static int try_path(const char *path) {
  open_function *open_object = real_dlopen();
  if (open_object == NULL || !is_fitting(path)) return 0;
  struct link_map *map = open_object(path, RTLD_NOW_);
  if (!is_driver(map)) return 0;
  image = map;
  return 1;
}

static int try_folder(const char *folder) {
  char path[PATH_BYTES];
  struct text t = text_in(path, sizeof path);
  text_add(&t, folder);
  text_add(&t, "/" DRIVER_NAME);
  return !t.cut && folder[0] == '/' && try_path(path);
}

static const char *const DEFAULT_FOLDERS[] = {
#if defined(__x86_64__)
    "/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu",
#elif defined(__aarch64__)
    "/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu",
#endif
    "/lib64", "/usr/lib64", "/lib", "/usr/lib",
    // Where container tool kits and WSL put it without telling ld.so.cache.
    "/usr/local/nvidia/lib64", "/usr/local/nvidia/lib", "/usr/local/cuda/compat", "/usr/lib/wsl/lib", NULL};

static int is_default(const char *folder) {
  for (int i = 0; DEFAULT_FOLDERS[i] != NULL; i++) {
    if (text_same(folder, DEFAULT_FOLDERS[i])) return 1;
  }
  return 0;
}

// RPATH, LD_LIBRARY_PATH as it was when the process started, RUNPATH: what the loader itself goes by. Its default folders come later, behind
// the cache.
static int try_search_path(void) {
  open_function *open_object = real_dlopen();
  info_function *info = (info_function *)elf_next("dlinfo");
  if (open_object == NULL || info == NULL) return 0;
  void *program = open_object(NULL, RTLD_LAZY_);
  struct search_path *path = scratch(SEARCH_BYTES);
  if (program == NULL || path == NULL) return 0;
  int found = 0;
  if (info(program, RTLD_DI_SERINFOSIZE_, path) == 0 && path->size <= SEARCH_BYTES && info(program, RTLD_DI_SERINFO_, path) == 0) {
    for (unsigned i = 0; i < path->count && !found; i++) {
      if (!is_default(path->entries[i].name)) found = try_folder(path->entries[i].name);
    }
  }
  sys_munmap(path, SEARCH_BYTES);
  return found;
}

// ld.so.cache, "glibc-ld.so.cache1.1": entries of {flags, key, value, os, hwcap}, keys and values as offsets from the head. Older systems put
// another table before it.
struct cache_entry {
  int32_t flags;
  uint32_t key, value, os;
  uint64_t hwcap;
};
struct cache_head {
  char magic[20];
  uint32_t count, strings, unused[5];
};

static int try_cache_at(const char *start, size_t size) {
  const struct cache_head *head = (const void *)start;
  const struct cache_entry *entries = (const void *)(start + sizeof *head);
  if (head->count > (size - sizeof *head) / sizeof *entries) return 0;
  for (uint32_t i = 0; i < head->count; i++) {
    const struct cache_entry *e = &entries[i];
    if (e->key >= size || e->value >= size) continue;
    // The last byte of the mapping is 0, so that every text in it ends.
    if (text_same(start + e->key, DRIVER_NAME) && try_path(start + e->value)) return 1;
  }
  return 0;
}

static int try_cache(void) {
  char *text = scratch(CACHE_BYTES);
  long fd = sys_open("/etc/ld.so.cache", O_RDONLY_);
  int found = 0;
  if (text != NULL && fd >= 0) {
    size_t size = 0;
    for (long got; size < CACHE_BYTES - 1 && (got = sys_read(fd, text + size, CACHE_BYTES - 1 - size)) > 0;) size += (size_t)got;
    for (size_t at = 0; at + sizeof(struct cache_head) < size && !found; at += 8) {
      if (text_begins(text + at, "glibc-ld.so.cache1.1")) {
        found = try_cache_at(text + at, size - at);
        break;
      }
    }
  }
  if (fd >= 0) sys_close(fd);
  if (text != NULL) sys_munmap(text, CACHE_BYTES);
  return found;
}

// Loaded under another name than ours: dlopen("libcuda.so"), or by its path.
static int try_loaded(void) {
  struct elf_object object;
  return elf_object_named("libcuda.so", &object) && object.name[0] == '/' && try_path(object.name);
}

static int find_driver(void) {
  if (try_loaded() || try_search_path() || try_cache()) return 1;
  for (int i = 0; DEFAULT_FOLDERS[i] != NULL; i++) {
    if (try_folder(DEFAULT_FOLDERS[i])) return 1;
  }
  return 0;
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
