// SPDX-License-Identifier: Apache-2.0
#include "vram/find.h"

#include <elf.h>

#include "vram/elf.h"
#include "vram/sys.h"
#include "vram/text.h"

enum {
  FOLDER_BYTES = 4096,
  CACHE_BYTES = 4 << 20,  // ld.so.cache; about 200 KiB on a large machine
  SEARCH_BYTES = 64 << 10, // dlinfo's answer
  RTLD_LAZY_ = 1,
  RTLD_NOW_ = 2,
  RTLD_DI_SERINFO_ = 4,
  RTLD_DI_SERINFOSIZE_ = 5,
};
#if defined(__x86_64__)
enum { MACHINE = EM_X86_64 };
#else
enum { MACHINE = EM_AARCH64 };
#endif

typedef void *open_function(const char *path, int flags);
typedef int info_function(void *handle, int request, void *out);
struct search_path { // Dl_serinfo of <dlfcn.h>
  size_t size;
  unsigned count;
  struct {
    char *name;
    unsigned flags;
  } entries[];
};
struct wanted {
  const char *name;
  int (*fits)(const struct link_map *);
  open_function *open;
  struct link_map *found;
};

// 1 where the file is an object of this process's class and machine: only such a file is given to the loader, whose failures would
// otherwise show in the program's dlerror().
static int is_object(const char *path) {
  ElfW(Ehdr) header;
  long fd = sys_open(path, O_RDONLY_);
  if (fd < 0) return 0;
  long got = sys_read(fd, &header, sizeof header);
  sys_close(fd);
  return got == (long)sizeof header && header.e_ident[0] == 0x7f && header.e_ident[1] == 'E' && header.e_ident[2] == 'L' &&
         header.e_ident[3] == 'F' && header.e_ident[EI_CLASS] == ELFCLASS64 && header.e_machine == MACHINE && header.e_type == ET_DYN;
}

static int try_path(struct wanted *wanted, const char *path) {
  if (!wanted->open || !is_object(path)) return 0;
  struct link_map *map = wanted->open(path, RTLD_NOW_);
  if (!map || !wanted->fits(map)) return 0;
  wanted->found = map;
  return 1;
}

static int try_folder(struct wanted *wanted, const char *folder) {
  char path[FOLDER_BYTES];
  struct text text = text_in(path, sizeof path);
  text_add(&text, folder);
  text_add(&text, "/");
  text_add(&text, wanted->name);
  // Relative folders too, as the loader has it; the slash keeps it from searching by name.
  return !text.cut && folder[0] && try_path(wanted, path);
}

static const char *const default_folders[] = {
#if defined(__x86_64__)
    "/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu",
#else
    "/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu",
#endif
    "/lib64", "/usr/lib64", "/lib", "/usr/lib",
    // Where container tool kits and WSL put it without telling ld.so.cache.
    "/usr/local/nvidia/lib64", "/usr/local/nvidia/lib", "/usr/local/cuda/compat", "/usr/lib/wsl/lib", NULL};

static int is_default(const char *folder) {
  for (int i = 0; default_folders[i]; i++)
    if (text_same(folder, default_folders[i])) return 1;
  return 0;
}

// RPATH, LD_LIBRARY_PATH as it was when the process started, RUNPATH. The loader's default folders come later, behind the cache.
static int try_search_path(struct wanted *wanted) {
  info_function *info = (info_function *)elf_next("dlinfo");
  void *program = info ? wanted->open(NULL, RTLD_LAZY_) : NULL;
  struct search_path *path = sys_mmap(SEARCH_BYTES, PROT_READ_ | PROT_WRITE_, MAP_PRIVATE_ | MAP_ANONYMOUS_ | MAP_NORESERVE_, -1);
  int found = 0;
  if (program && path && !info(program, RTLD_DI_SERINFOSIZE_, path) && path->size <= SEARCH_BYTES &&
      !info(program, RTLD_DI_SERINFO_, path)) {
    for (unsigned i = 0; i < path->count && !found; i++)
      if (!is_default(path->entries[i].name)) found = try_folder(wanted, path->entries[i].name);
  }
  if (path) sys_munmap(path, SEARCH_BYTES);
  return found;
}

// ld.so.cache, "glibc-ld.so.cache1.1": entries, then texts, by their offsets from the head. Older systems put another table before it.
struct cache_entry {
  int32_t flags;
  uint32_t key, value, os;
  uint64_t hwcap;
};
struct cache_head {
  char magic[20];
  uint32_t count, strings, unused[5];
};

static int try_cache_at(struct wanted *wanted, const char *start, size_t size) {
  const struct cache_head *head = (const void *)start;
  const struct cache_entry *entries = (const void *)(start + sizeof *head);
  if (head->count > (size - sizeof *head) / sizeof *entries) return 0;
  for (uint32_t i = 0; i < head->count; i++) {
    const struct cache_entry *entry = &entries[i];
    if (entry->key >= size || entry->value >= size) continue;
    // The last byte of the mapping is 0, so every text in it ends.
    if (text_same(start + entry->key, wanted->name) && try_path(wanted, start + entry->value)) return 1;
  }
  return 0;
}

static int try_cache(struct wanted *wanted) {
  char *text = sys_mmap(CACHE_BYTES, PROT_READ_ | PROT_WRITE_, MAP_PRIVATE_ | MAP_ANONYMOUS_ | MAP_NORESERVE_, -1);
  long fd = text ? sys_open("/etc/ld.so.cache", O_RDONLY_) : -1;
  size_t size = 0;
  int found = 0;
  if (fd >= 0) {
    for (long got; size < CACHE_BYTES - 1 && (got = sys_read(fd, text + size, CACHE_BYTES - 1 - size)) > 0;) size += (size_t)got;
    sys_close(fd);
  }
  for (size_t at = 0; at + sizeof(struct cache_head) < size; at += 8) {
    if (!text_begins(text + at, "glibc-ld.so.cache1.1")) continue;
    found = try_cache_at(wanted, text + at, size - at);
    break;
  }
  if (text) sys_munmap(text, CACHE_BYTES);
  return found;
}

static open_function *real_dlopen(void) {
  void *found = elf_next("dlopen");
  // glibc < 2.34 in a program without libdl.
  return (open_function *)(found ? found : elf_next("__libc_dlopen_mode"));
}

struct link_map *open_library(const char *path, int (*fits)(const struct link_map *)) {
  struct wanted wanted = {.fits = fits, .open = real_dlopen()};
  try_path(&wanted, path);
  return wanted.found;
}

struct link_map *find_library(const char *name, int (*fits)(const struct link_map *)) {
  struct wanted wanted = {.name = name, .fits = fits, .open = real_dlopen()};
  if (!wanted.open || try_search_path(&wanted) || try_cache(&wanted)) return wanted.found;
  for (int i = 0; default_folders[i]; i++)
    if (try_folder(&wanted, default_folders[i])) break;
  return wanted.found;
}
