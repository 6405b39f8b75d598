// SPDX-License-Identifier: Apache-2.0
// Which addresses does a real CUDA runtime get? Linked with libcudart (static or shared), this program stands between it and its
// look-ups: it answers dlsym itself and notes what every entry point resolved to, one line each:
//   dlsym NAME FILE
//   look-up NAME VERSION FLAGS STATUS SYMBOL FILE
// The runtime is then used; against a fake driver it may refuse to work, which is not what this asks about.
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

int cudaGetDeviceCount(int *count);
int cudaMalloc(void **out, size_t bytes);
int cudaFree(void *memory);

typedef void *dlsym_function(void *handle, const char *name);
typedef int look_up_v1(const char *name, void **out, int version, uint64_t flags);
typedef int look_up_v2(const char *name, void **out, int version, uint64_t flags, int *status);

static look_up_v1 *next_v1;
static look_up_v2 *next_v2;

static const char *file_of(void *address, const char **symbol) {
  Dl_info info;
  *symbol = "-";
  if (!address || !dladdr(address, &info)) return "-";
  if (info.dli_sname && info.dli_saddr == address) *symbol = info.dli_sname;
  return info.dli_fname;
}

static void *instead(const char *name, void *found, int version);

static int noted(const char *name, void **out, int version, uint64_t flags, int status, int result) {
  const char *symbol, *file = file_of(result ? NULL : *out, &symbol);
  printf("look-up %s %d %d %d %s %s\n", *name ? name : "-", version, (int)flags, status, symbol, file);
  if (!result && *out) *out = instead(name, *out, version);
  return result;
}
static int note_v1(const char *name, void **out, int version, uint64_t flags) {
  int result = next_v1(name, out, version, flags);
  return noted(name, out, version, flags, result, result);
}
static int note_v2(const char *name, void **out, int version, uint64_t flags, int *status) {
  int result = next_v2(name, out, version, flags, status);
  return noted(name, out, version, flags, status ? *status : result, result);
}
/* Look-ups of the look-up itself stay in view. */
static void *instead(const char *name, void *found, int version) {
  if (strcmp(name, "cuGetProcAddress_v2") && strcmp(name, "cuGetProcAddress")) return found;
  if (version >= 12000) {
    next_v2 = (look_up_v2 *)found;
    return (void *)note_v2;
  }
  next_v1 = (look_up_v1 *)found;
  return (void *)note_v1;
}

__attribute__((visibility("default"))) void *dlsym(void *handle, const char *name) {
  static dlsym_function *next;
  static const char *const versions[] = {"GLIBC_2.34", "GLIBC_2.17", "GLIBC_2.2.5"};
  for (unsigned i = 0; !next && i < sizeof versions / sizeof *versions; i++)
    next = (dlsym_function *)dlvsym(RTLD_NEXT, "dlsym", versions[i]);
  void *found = next(handle, name);
  if (strncmp(name, "cu", 2)) return found;
  const char *symbol;
  printf("dlsym %s %s\n", name, file_of(found, &symbol));
  return found ? instead(name, found, strcmp(name, "cuGetProcAddress") ? 12000 : 11030) : NULL;
}

int main(void) {
  int count = -1;
  void *memory = NULL;
  int counted = cudaGetDeviceCount(&count), allocated = cudaMalloc(&memory, 1 << 20);
  if (!allocated) cudaFree(memory);
  printf("runtime count %d, malloc %d\n", counted, allocated);
  return 0;
}
