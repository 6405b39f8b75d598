// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // struct dl_phdr_info
#include "elf.h"

#include <elf.h>
#include <link.h>

#include "ledger.h"
#include "sys.h"
#include "text.h"

// The one import: glibc and musl have it. Weak, so that its absence would end no process.
#pragma weak dl_iterate_phdr

extern const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden")));
extern ElfW(Dyn) _DYNAMIC[] __attribute__((visibility("hidden")));

#define HIDDEN_VERSION 0x8000U // a symbol version that is not the default
#define LINE_BYTES 4352 // of /proc/self/maps: a path and what stands before it
#define MAX_DYNAMIC 512        // entries; real objects have about 40

struct tables {
  const ElfW(Sym) * symbols;
  const char *strings;
  const uint32_t *gnu_hash;
  const uint32_t *sysv_hash;
  const uint16_t *versions;
};

// glibc relocates the addresses in the dynamic section, musl and the vDSO do not.
static const void *at(uintptr_t base, uintptr_t value) { return (const void *)(value < base ? base + value : value); }

static int read_tables(uintptr_t base, const ElfW(Dyn) * dynamic, struct tables *out) {
  *out = (struct tables){0};
  for (int i = 0; i < MAX_DYNAMIC && dynamic[i].d_tag != DT_NULL; i++) {
    const void *where = at(base, dynamic[i].d_un.d_ptr);
    switch (dynamic[i].d_tag) {
    case DT_SYMTAB: out->symbols = where; break;
    case DT_STRTAB: out->strings = where; break;
    case DT_GNU_HASH: out->gnu_hash = where; break;
    case DT_HASH: out->sysv_hash = where; break;
    case DT_VERSYM: out->versions = where; break;
    default: break;
    }
  }
  return out->symbols != NULL && out->strings != NULL && (out->gnu_hash != NULL || out->sysv_hash != NULL);
}

static int defines(const struct tables *t, uint32_t index, const char *name) {
  const ElfW(Sym) *symbol = &t->symbols[index];
  unsigned type = symbol->st_info & 0xfU;
  return symbol->st_shndx != SHN_UNDEF && symbol->st_value != 0 && (type == STT_FUNC || type == STT_NOTYPE) &&
         text_same(t->strings + symbol->st_name, name);
}

// Index of a definition, 0 for none. A default version goes before a hidden one.
static uint32_t find_gnu(const struct tables *t, const char *name) {
  const uint32_t *header = t->gnu_hash;
  uint32_t buckets = header[0], offset = header[1], bloom_size = header[2], shift = header[3], hash = 5381, hidden = 0;
  for (const char *c = name; *c != 0; c++) hash = hash * 33 + (unsigned char)*c;
  const size_t *bloom = (const size_t *)(const void *)(header + 4);
  const uint32_t *bucket = (const uint32_t *)(const void *)(bloom + bloom_size);
  const uint32_t *chain = bucket + buckets;
  size_t word = bloom[(hash / (8 * sizeof(size_t))) & (bloom_size - 1)];
  size_t mask = (size_t)1 << (hash % (8 * sizeof(size_t))) | (size_t)1 << ((hash >> shift) % (8 * sizeof(size_t)));
  if (buckets == 0 || (word & mask) != mask) return 0;
  uint32_t index = bucket[hash % buckets];
  if (index < offset) return 0;
  for (;; index++) {
    uint32_t entry = chain[index - offset];
    if ((entry | 1U) == (hash | 1U) && defines(t, index, name)) {
      if (t->versions == NULL || (t->versions[index] & HIDDEN_VERSION) == 0) return index;
      if (hidden == 0) hidden = index;
    }
    if ((entry & 1U) != 0) return hidden;
  }
}

static uint32_t find_sysv(const struct tables *t, const char *name) {
  uint32_t buckets = t->sysv_hash[0], count = t->sysv_hash[1], hash = 0, steps = 0, hidden = 0;
  for (const char *c = name; *c != 0; c++) {
    hash = (hash << 4) + (unsigned char)*c;
    hash = (hash ^ (hash >> 24 & 0xf0U)) & 0x0fffffffU;
  }
  if (buckets == 0) return 0;
  for (uint32_t i = t->sysv_hash[2 + hash % buckets]; i != 0 && i < count && steps < count; i = t->sysv_hash[2 + buckets + i], steps++) {
    if (!defines(t, i, name)) continue;
    if (t->versions == NULL || (t->versions[i] & HIDDEN_VERSION) == 0) return i;
    if (hidden == 0) hidden = i;
  }
  return hidden;
}

static void *find(uintptr_t base, const ElfW(Dyn) * dynamic, const char *name) {
  struct tables t;
  if (dynamic == NULL || !read_tables(base, dynamic, &t)) return NULL;
  uint32_t index = t.gnu_hash != NULL ? find_gnu(&t, name) : find_sysv(&t, name);
  return index == 0 ? NULL : (void *)(base + t.symbols[index].st_value);
}

static const ElfW(Dyn) * dynamic_of(const struct dl_phdr_info *info) {
  for (int i = 0; i < info->dlpi_phnum; i++) {
    if (info->dlpi_phdr[i].p_type == PT_DYNAMIC) return (const ElfW(Dyn) *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
  }
  return NULL;
}

static int holds(const struct dl_phdr_info *info, uintptr_t address) {
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *header = &info->dlpi_phdr[i];
    uintptr_t start = info->dlpi_addr + header->p_vaddr;
    if (header->p_type == PT_LOAD && address >= start && address - start < header->p_memsz) return 1;
  }
  return 0;
}

static int is_own(const struct dl_phdr_info *info) { return dynamic_of(info) == _DYNAMIC; }

static const char *file_name(const char *path) {
  const char *name = path;
  for (const char *c = path; *c != 0; c++) {
    if (*c == '/') name = c + 1;
  }
  return name;
}

struct search {
  const char *name;
  uintptr_t address;
  int place, passed, found;
  void *symbol;
  struct elf_object object;
};

static void take(struct search *s, const struct dl_phdr_info *info) {
  s->object = (struct elf_object){
      .name = info->dlpi_name == NULL ? "" : info->dlpi_name,
      .base = info->dlpi_addr,
      .dynamic = (const uintptr_t *)(const void *)dynamic_of(info),
      .place = s->place,
  };
  s->found = 1;
}

static int visit_self(struct dl_phdr_info *info, size_t size, void *data) {
  struct search *s = data;
  (void)size;
  if (is_own(info)) take(s, info);
  s->place++;
  return s->found;
}

static int visit_next(struct dl_phdr_info *info, size_t size, void *data) {
  struct search *s = data;
  (void)size;
  if (is_own(info)) s->passed = 1;
  else if (s->passed != 0) s->symbol = find(info->dlpi_addr, dynamic_of(info), s->name);
  return s->symbol != NULL;
}

static int visit_at(struct dl_phdr_info *info, size_t size, void *data) {
  struct search *s = data;
  (void)size;
  if (holds(info, s->address)) take(s, info);
  s->place++;
  return s->found;
}

static int visit_named(struct dl_phdr_info *info, size_t size, void *data) {
  struct search *s = data;
  (void)size;
  if (!is_own(info) && info->dlpi_name != NULL && text_begins(file_name(info->dlpi_name), s->name)) take(s, info);
  s->place++;
  return s->found;
}

static int walk(int (*visit)(struct dl_phdr_info *, size_t, void *), struct search *s) {
  if (dl_iterate_phdr != NULL) dl_iterate_phdr(visit, s);
  return s->found;
}

int elf_object_at(const void *address, struct elf_object *out) {
  struct search s = {.address = (uintptr_t)address};
  int found = walk(visit_at, &s);
  *out = s.object;
  return found;
}

int elf_object_named(const char *prefix, struct elf_object *out) {
  struct search s = {.name = prefix};
  int found = walk(visit_named, &s);
  *out = s.object;
  return found;
}

int elf_self_place(void) {
  struct search s = {0};
  return walk(visit_self, &s) ? s.object.place : -1;
}

static uintptr_t hex(const char **text) {
  uintptr_t value = 0;
  for (;; ++*text) {
    unsigned c = (unsigned char)**text, digit = c - '0' < 10 ? c - '0' : c - 'a' < 6 ? c - 'a' + 10 : 16;
    if (digit == 16) return value;
    value = value * 16 + digit;
  }
}

// The file that this object was mapped from, as the kernel names it (links resolved). 0, or -1 without /proc.
static int mapped_file(char line[LINE_BYTES]) {
  char buffer[512];
  size_t length = 0;
  int found = -1;
  long got, fd = sys_open("/proc/self/maps", O_RDONLY_);
  if (fd < 0) return -1;
  while (found != 0 && (got = sys_read(fd, buffer, sizeof buffer)) > 0) {
    for (long i = 0; i < got && found != 0; i++) {
      if (buffer[i] != '\n') {
        if (length < LINE_BYTES - 1) line[length++] = buffer[i];
        continue;
      }
      line[length] = 0;
      length = 0;
      const char *at = line;
      uintptr_t start = hex(&at), end = *at == '-' ? (at++, hex(&at)) : 0;
      if ((uintptr_t)&__ehdr_start < start || (uintptr_t)&__ehdr_start >= end) continue;
      while (*at != 0 && *at != '/') at++;
      for (char *to = line; (*to = *at) != 0; to++) at++;
      found = 0;
    }
  }
  sys_close(fd);
  return found;
}

static int same_file(const char *a, const char *b) {
  uint64_t first[32] = {0}, second[32] = {0}; // struct stat begins with device and inode on both machines
  if (sys4(SYS_newfstatat, AT_FDCWD_, a, first, 0) < 0 || sys4(SYS_newfstatat, AT_FDCWD_, b, second, 0) < 0) return 0;
  return first[0] == second[0] && first[1] == second[1];
}

int self_directory(char *path, uint64_t size) {
  struct search s = {0};
  char file[LINE_BYTES];
  if (!walk(visit_self, &s)) return -1;
  // glibc names a preloaded object as it was told to load it. A relative name says nothing once the program has changed its folder: then the
  // kernel knows the file, though not by which link it was found.
  const char *name = s.object.name;
  int moved = 0;
  if (name[0] != '/' && mapped_file(file) == 0 && !same_file(name, file)) {
    name = file;
    moved = 1;
  }
  // The last slash ends the folder.
  size_t length = 0, end = 0;
  for (; name[length] != 0; length++) {
    if (name[length] == '/') end = length;
  }
  if (end == 0 || end >= size) return -1;
  for (size_t i = 0; i < end; i++) path[i] = name[i];
  path[end] = 0;
  return moved ? SELF_MOVED : 0;
}

void *elf_next(const char *name) {
  struct search s = {.name = name};
  walk(visit_next, &s);
  return s.symbol;
}

int elf_is_self(const void *address) {
  extern const char _end __attribute__((visibility("hidden")));
  return (uintptr_t)address >= (uintptr_t)&__ehdr_start && (uintptr_t)address < (uintptr_t)&_end;
}

// A handle is the loader's link map in glibc and musl.
int elf_is_own_handle(const void *handle) { return ((const struct link_map *)handle)->l_ld == _DYNAMIC; }

void *elf_symbol(uintptr_t base, const void *dynamic, const char *name) { return find(base, dynamic, name); }

void *elf_own_export(const char *name) { return find((uintptr_t)&__ehdr_start, _DYNAMIC, name); }

const char *elf_own_name(const void *address) {
  uintptr_t base = (uintptr_t)&__ehdr_start, value = (uintptr_t)address - base;
  struct tables t;
  if (!read_tables(base, _DYNAMIC, &t) || t.gnu_hash == NULL) return NULL;
  // Exports stand in the order of their buckets from `offset` on; the last chain's end bounds the walk.
  const uint32_t *header = t.gnu_hash;
  const uint32_t *bucket = (const uint32_t *)(const void *)((const size_t *)(const void *)(header + 4) + header[2]);
  const uint32_t *chain = bucket + header[0];
  uint32_t last = 0;
  for (uint32_t i = 0; i < header[0]; i++) last = bucket[i] > last ? bucket[i] : last;
  if (last < header[1]) return NULL;
  while ((chain[last - header[1]] & 1U) == 0) last++;
  for (uint32_t i = header[1]; i <= last; i++) {
    if (t.symbols[i].st_value == value) return t.strings + t.symbols[i].st_name;
  }
  return NULL;
}
