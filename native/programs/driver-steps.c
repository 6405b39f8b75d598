// SPDX-License-Identifier: Apache-2.0
// driver-steps HOW STEP...: calls the driver API step by step and prints one line for each, so that a test says what a program does and reads
// what it got. HOW is where the entry points come from:
//   linked             the program's own undefined symbols (only where built with -DLINKED)
//   dlopen:FILE        dlopen(FILE) and dlsym on its handle
//   default            dlopen("libcuda.so.1", RTLD_GLOBAL) and dlsym(RTLD_DEFAULT)
//   lookup:VERSION:FLAGS   one dlsym of cuGetProcAddress_v2, then all by name, version and flags, as the CUDA runtime does
//   lookup1:VERSION:FLAGS  the same with the four-argument form
// Steps are WORD:ARG:ARG…; NAME is any word under which an address or handle is kept.
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

typedef int CUresult;
typedef unsigned long long u64;
struct ipc {
  unsigned char bytes[64];
};

// Look-up name, exported name, parameters.
#ifdef PER_THREAD
#define STREAMED(name) name##_ptsz
#else
#define STREAMED(name) name
#endif
#define ENTRY_POINTS(X)                                                       \
  X(cuInit, cuInit, (unsigned))                                               \
  X(cuDeviceGet, cuDeviceGet, (int *, int))                                   \
  X(cuDeviceTotalMem, cuDeviceTotalMem_v2, (size_t *, int))                   \
  X(cuCtxCreate, cuCtxCreate_v2, (void **, unsigned, int))                    \
  X(cuCtxDestroy, cuCtxDestroy_v2, (void *))                                  \
  X(cuCtxSetCurrent, cuCtxSetCurrent, (void *))                               \
  X(cuCtxSynchronize, cuCtxSynchronize, (void))                               \
  X(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, (void **, int))       \
  X(cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2, (int))           \
  X(cuDevicePrimaryCtxReset, cuDevicePrimaryCtxReset_v2, (int))               \
  X(cuMemGetInfo, cuMemGetInfo_v2, (size_t *, size_t *))                      \
  X(cuMemAlloc, cuMemAlloc_v2, (uint64_t *, size_t))                          \
  X(cuMemFree, cuMemFree_v2, (uint64_t))                                      \
  X(cuMemAllocManaged, cuMemAllocManaged, (uint64_t *, size_t, unsigned))     \
  X(cuMemAllocPitch, cuMemAllocPitch_v2, (uint64_t *, size_t *, size_t, size_t, unsigned)) \
  X(cuMemHostAlloc, cuMemHostAlloc, (void **, size_t, unsigned))              \
  X(cuArrayCreate, cuArrayCreate_v2, (void **, const void *))                 \
  X(cuArray3DCreate, cuArray3DCreate_v2, (void **, const void *))             \
  X(cuArrayDestroy, cuArrayDestroy, (void *))                                 \
  X(cuMipmappedArrayCreate, cuMipmappedArrayCreate, (void **, const void *, unsigned)) \
  X(cuMipmappedArrayDestroy, cuMipmappedArrayDestroy, (void *))               \
  X(cuMemAllocAsync, STREAMED(cuMemAllocAsync), (uint64_t *, size_t, void *)) \
  X(cuMemFreeAsync, STREAMED(cuMemFreeAsync), (uint64_t, void *))             \
  X(cuMemAllocFromPoolAsync, STREAMED(cuMemAllocFromPoolAsync), (uint64_t *, size_t, void *, void *)) \
  X(cuStreamCreate, cuStreamCreate, (void **, unsigned))                      \
  X(cuStreamSynchronize, STREAMED(cuStreamSynchronize), (void *))             \
  X(cuStreamBeginCapture, STREAMED(cuStreamBeginCapture_v2), (void *, int))   \
  X(cuStreamEndCapture, STREAMED(cuStreamEndCapture), (void *, void **))      \
  X(cuMemPoolCreate, cuMemPoolCreate, (void **, const void *))                \
  X(cuMemPoolDestroy, cuMemPoolDestroy, (void *))                             \
  X(cuMemPoolTrimTo, cuMemPoolTrimTo, (void *, size_t))                       \
  X(cuMemPoolSetAttribute, cuMemPoolSetAttribute, (void *, int, void *))      \
  X(cuDeviceGetDefaultMemPool, cuDeviceGetDefaultMemPool, (void **, int))     \
  X(cuMemCreate, cuMemCreate, (uint64_t *, size_t, const void *, u64))        \
  X(cuMemRelease, cuMemRelease, (uint64_t))                                   \
  X(cuMemExportToShareableHandle, cuMemExportToShareableHandle, (void *, uint64_t, int, u64)) \
  X(cuMemImportFromShareableHandle, cuMemImportFromShareableHandle, (uint64_t *, void *, int)) \
  X(cuMemAddressReserve, cuMemAddressReserve, (uint64_t *, size_t, size_t, uint64_t, u64)) \
  X(cuMemMap, cuMemMap, (uint64_t, size_t, size_t, uint64_t, u64))            \
  X(cuMemUnmap, cuMemUnmap, (uint64_t, size_t))                               \
  X(cuMemRetainAllocationHandle, cuMemRetainAllocationHandle, (uint64_t *, void *)) \
  X(cuIpcGetMemHandle, cuIpcGetMemHandle, (struct ipc *, uint64_t))           \
  X(cuIpcOpenMemHandle, cuIpcOpenMemHandle_v2, (uint64_t *, struct ipc, unsigned)) \
  X(cuIpcCloseMemHandle, cuIpcCloseMemHandle, (uint64_t))                     \
  X(cuGraphCreate, cuGraphCreate, (void **, unsigned))                        \
  X(cuGraphAddMemAllocNode, cuGraphAddMemAllocNode, (void **, void *, const void *, size_t, void *)) \
  X(cuImportExternalMemory, cuImportExternalMemory, (void **, const void *))  \
  X(cuGetErrorString, cuGetErrorString, (CUresult, const char **))

#define DECLARE(name, symbol, parameters) static CUresult(*p_##name) parameters;
ENTRY_POINTS(DECLARE)
#ifdef LINKED
#define EXTERN2(symbol, parameters) extern CUresult symbol parameters;
#define EXTERN(name, symbol, parameters) EXTERN2(symbol, parameters)
ENTRY_POINTS(EXTERN)
#endif

__attribute__((noreturn)) static void fail(const char *what, const char *why) {
  fprintf(stderr, "driver-steps: %s: %s\n", what, why ? why : "failed");
  exit(70);
}

static void *source;
static int asked_version;
static u64 asked_flags;
static CUresult (*look_up)(const char *, void **, int, u64, int *);
static CUresult (*look_up1)(const char *, void **, int, u64);

// These took other parameters later; the steps use the older form.
static int version_of(const char *name) {
  int last = !strcmp(name, "cuCtxCreate") ? 4000 : !strcmp(name, "cuCtxSynchronize") ? 12000 : asked_version;
  return last < asked_version ? last : asked_version;
}

static void *entry(const char *name, const char *symbol) {
  void *found = NULL;
  int status = 0, version = version_of(name);
  if (look_up && look_up(name, &found, version, asked_flags, &status)) return NULL;
  if (look_up1 && look_up1(name, &found, version, asked_flags)) return NULL;
  return look_up || look_up1 ? found : dlsym(source, symbol);
}

static void bind(const char *how) {
#ifdef LINKED
#define LINK(name, symbol, parameters) p_##name = symbol;
  if (!strcmp(how, "linked")) {
    ENTRY_POINTS(LINK)
    return;
  }
#endif
  if (!strncmp(how, "dlopen:", 7)) source = dlopen(how + 7, RTLD_NOW);
  else if (!strcmp(how, "default")) source = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL) ? RTLD_DEFAULT : NULL;
  else if (!strncmp(how, "lookup", 6)) source = dlopen("libcuda.so.1", RTLD_NOW);
  else fail(how, "no such way");
  if (!source && strcmp(how, "default")) fail(how, dlerror());
  if (sscanf(how, "lookup:%d:%llu", &asked_version, &asked_flags) == 2) *(void **)&look_up = dlsym(source, "cuGetProcAddress_v2");
  if (sscanf(how, "lookup1:%d:%llu", &asked_version, &asked_flags) == 2) *(void **)&look_up1 = dlsym(source, "cuGetProcAddress");
#define STRING2(x) #x
#define STRING(x) STRING2(x)
#define FIND(name, symbol, parameters) *(void **)&p_##name = entry(#name, STRING(symbol));
  ENTRY_POINTS(FIND)
}

// ---- what steps keep ----
static struct kept {
  char name[32];
  uint64_t value, bytes;
} kept[64];
static int count;
static void *stream;

static struct kept *keep(const char *name) {
  for (int i = 0; i < count; i++)
    if (!strcmp(kept[i].name, name)) return &kept[i];
  if (count == 64 || strlen(name) >= sizeof kept->name) fail(name, "too many names");
  strcpy(kept[count].name, name);
  return &kept[count++];
}
static uint64_t value(const char *name) { return keep(name)->value; }
static uint64_t number(const char *text) { return strtoull(text, NULL, 0); }

enum { MAX_ARGS = 12 };
static char *a[MAX_ARGS];
static int n;
#define N(i) ((i) < n ? number(a[i]) : 0)
#define INT(i) ((int)N(i))

struct shape {
  size_t width, height, depth;
  unsigned format, channels, flags;
};
struct flat {
  size_t width, height;
  unsigned format, channels;
};
struct props {
  int type, handles, location, id;
  unsigned char rest[72];
};
struct node {
  struct props pool;
  const void *access;
  size_t count, bytes;
  uint64_t address;
};
struct external {
  int type, pad;
  uint64_t handle[2], bytes;
  unsigned flags, reserved[16];
};

static CUresult make_context(void) {
  void *context = NULL;
  CUresult result = p_cuCtxCreate(&context, 0, INT(2));
  keep(a[1])->value = (uint64_t)(uintptr_t)context;
  return result;
}
static CUresult make_array(void) {
  struct shape s = {N(2), N(3), N(4), (unsigned)N(5), (unsigned)N(6), (unsigned)N(7)};
  struct flat f = {N(2), N(3), (unsigned)N(5), (unsigned)N(6)};
  void *array = NULL;
  CUresult result = N(8)             ? p_cuMipmappedArrayCreate(&array, &s, (unsigned)N(8))
                    : s.depth || s.flags ? p_cuArray3DCreate(&array, &s)
                                         : p_cuArrayCreate(&array, &f);
  keep(a[1])->value = (uint64_t)(uintptr_t)array;
  return result;
}
static CUresult make_pool(void) {
  struct props props = {1, 0, n > 2 ? INT(2) : 1, INT(3), {0}};
  void *pool = NULL;
  CUresult result = p_cuMemPoolCreate(&pool, &props);
  keep(a[1])->value = (uint64_t)(uintptr_t)pool;
  return result;
}
static void *pool_named(const char *name) {
  void *pool = NULL;
  if (strcmp(name, "default")) return (void *)(uintptr_t)value(name);
  p_cuDeviceGetDefaultMemPool(&pool, 0);
  return pool;
}
static CUresult physical(void) {
  struct props props = {1, 0, n > 3 ? INT(3) : 1, INT(4), {0}};
  keep(a[1])->bytes = N(2);
  return p_cuMemCreate(&keep(a[1])->value, N(2), &props, 0);
}
static CUresult map_memory(void) { // map:ADDRESS:HANDLE
  struct kept *address = keep(a[1]);
  address->bytes = keep(a[2])->bytes;
  CUresult result = p_cuMemAddressReserve(&address->value, address->bytes, 0, 0, 0);
  return result ? result : p_cuMemMap(address->value, address->bytes, 0, value(a[2]), 0);
}
static CUresult export_handle(void) { // export:FILE:HANDLE
  int file = -1;
  CUresult result = p_cuMemExportToShareableHandle(&file, value(a[2]), 1, 0);
  keep(a[1])->value = (uint64_t)file;
  keep(a[1])->bytes = keep(a[2])->bytes;
  return result;
}
static CUresult import_handle(void) { // import:HANDLE:FILE
  keep(a[1])->bytes = keep(a[2])->bytes;
  return p_cuMemImportFromShareableHandle(&keep(a[1])->value, (void *)(uintptr_t)value(a[2]), 1);
}
// ipc-out:ADDRESS:FILE writes the handle, ipc-in:NAME:FILE opens it: in another process, as it is meant.
static CUresult ipc_file(int out) {
  struct ipc handle = {{0}};
  FILE *file = fopen(a[2], out ? "w" : "r");
  CUresult result = out ? p_cuIpcGetMemHandle(&handle, value(a[1])) : 0;
  if (!file || (out ? fwrite(&handle, sizeof handle, 1, file) : fread(&handle, sizeof handle, 1, file)) != 1) fail(a[2], NULL);
  fclose(file);
  return out || result ? result : p_cuIpcOpenMemHandle(&keep(a[1])->value, handle, 1);
}
// run:HOW…: another copy of this program, with the steps that stand behind it in one word, joined by commas.
static CUresult run_copy(void) {
  char *list[32] = {(char *)(uintptr_t)"/proc/self/exe", a[1]}, *save = NULL;
  int words = 2, status = 0;
  list[1] = strdup("dlopen:libcuda.so.1");
  for (char *word = strtok_r(strdup(a[1]), ",", &save); word && words < 31; word = strtok_r(NULL, ",", &save)) {
    for (char *at = word; *at; at++)
      if (*at == '=') *at = ':';
    list[words++] = word;
  }
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    execv(list[0], list);
    _exit(72);
  }
  return child > 0 && waitpid(child, &status, 0) == child ? WEXITSTATUS(status) : 999;
}
static CUresult graph_node(void) {
  struct node params = {.pool = {1, 0, 1, INT(2), {0}}, .bytes = N(1)};
  void *graph = NULL, *node = NULL;
  CUresult result = p_cuGraphCreate(&graph, 0);
  return result ? result : p_cuGraphAddMemAllocNode(&node, graph, NULL, 0, &params);
}
static CUresult external(void) {
  struct external description = {.type = 1, .bytes = N(1)};
  void *memory = NULL;
  return p_cuImportExternalMemory(&memory, &description);
}
static CUresult info(void) {
  size_t available = 0, total = 0;
  CUresult result = p_cuMemGetInfo(&available, &total);
  printf("free %zu total %zu used %zu ", available, total, total - available);
  return result;
}
static CUresult total(void) {
  size_t bytes = 0;
  CUresult result = p_cuDeviceTotalMem(&bytes, INT(1));
  printf("total %zu ", bytes);
  return result;
}
static CUresult primary(void) {
  void *context = NULL;
  CUresult result = p_cuDevicePrimaryCtxRetain(&context, INT(1));
  return result ? result : p_cuCtxSetCurrent(context);
}
static CUresult pitch(void) {
  size_t row = 0;
  CUresult result = p_cuMemAllocPitch(&keep(a[1])->value, &row, N(2), N(3), 4);
  printf("pitch %zu ", row);
  return result;
}
static CUresult host(void) {
  void *memory = NULL;
  return p_cuMemHostAlloc(&memory, N(1), 0);
}
static CUresult capture(void) {
  void *graph = NULL;
  uint64_t address = 0;
  CUresult result = p_cuStreamBeginCapture(stream, 2), inner = result ? result : p_cuMemAllocAsync(&address, N(1), stream);
  CUresult end = p_cuStreamEndCapture(stream, &graph);
  return result ? result : inner ? inner : end;
}
static CUresult threshold(void) {
  uint64_t bytes = N(2);
  return p_cuMemPoolSetAttribute(pool_named(a[1]), 4, &bytes);
}
// pools:N: that many pools at once, with an allocation from each. The first answer that is no success.
static CUresult many_pools(void) {
  CUresult result = 0;
  for (uint64_t i = 0; i < N(1) && !result; i++) {
    struct props props = {1, 0, 1, 0, {0}};
    void *pool = NULL;
    uint64_t address = 0;
    result = p_cuMemPoolCreate(&pool, &props);
    if (!result) result = p_cuMemAllocFromPoolAsync(&address, 1, pool, stream);
  }
  return result;
}
// descriptors:0 leaves the process none, descriptors:1 some again.
static CUresult descriptors(void) {
  struct rlimit all = {INT(1) ? 256 : 0, 256};
  return (CUresult)setrlimit(RLIMIT_NOFILE, &all);
}
// memory:N leaves the process room for mappings of N bytes more, memory without a number as much as it likes.
static CUresult memory(void) {
  unsigned long pages = 0;
  struct rlimit room = {RLIM_INFINITY, RLIM_INFINITY};
  FILE *file = fopen("/proc/self/statm", "r");
  if (!file || fscanf(file, "%lu", &pages) != 1) fail("/proc/self/statm", NULL);
  fclose(file);
  if (n > 1) room.rlim_cur = pages * (rlim_t)sysconf(_SC_PAGESIZE) + N(1);
  return (CUresult)setrlimit(RLIMIT_AS, &room);
}
static CUresult text(void) {
  const char *words = "";
  CUresult result = p_cuGetErrorString(INT(1), &words);
  printf("\"%s\" ", words);
  return result;
}

static CUresult step(void) {
#define IS(word) (!strcmp(a[0], word))
  if (IS("init")) return p_cuInit(0);
  if (IS("context")) return make_context();
  if (IS("destroy")) return p_cuCtxDestroy((void *)(uintptr_t)value(a[1]));
  if (IS("current")) return p_cuCtxSetCurrent((void *)(uintptr_t)value(a[1]));
  if (IS("primary")) return primary();
  if (IS("reset")) return p_cuDevicePrimaryCtxReset(INT(1));
  if (IS("leave")) return p_cuDevicePrimaryCtxRelease(INT(1));
  if (IS("info")) return info();
  if (IS("info-null")) return p_cuMemGetInfo(NULL, NULL);
  if (IS("total")) return total();
  if (IS("alloc")) return p_cuMemAlloc(&keep(a[1])->value, N(2));
  if (IS("free")) return p_cuMemFree(value(a[1]));
  if (IS("free-address")) return p_cuMemFree(N(1));
  if (IS("managed")) return p_cuMemAllocManaged(&keep(a[1])->value, N(2), 1);
  if (IS("pitch")) return pitch();
  if (IS("host")) return host();
  if (IS("array") || IS("mipmap")) return make_array();
  if (IS("array-end")) return p_cuArrayDestroy((void *)(uintptr_t)value(a[1]));
  if (IS("mipmap-end")) return p_cuMipmappedArrayDestroy((void *)(uintptr_t)value(a[1]));
  if (IS("stream")) return p_cuStreamCreate(&stream, 1);
  if (IS("async")) return p_cuMemAllocAsync(&keep(a[1])->value, N(2), stream);
  if (IS("async-free")) return p_cuMemFreeAsync(value(a[1]), stream);
  if (IS("capture")) return capture();
  if (IS("sync")) return p_cuStreamSynchronize(stream);
  if (IS("sync-all")) return p_cuCtxSynchronize();
  if (IS("pool")) return make_pool();
  if (IS("from")) return p_cuMemAllocFromPoolAsync(&keep(a[1])->value, N(2), pool_named(a[3]), stream);
  if (IS("pool-end")) return p_cuMemPoolDestroy(pool_named(a[1]));
  if (IS("trim")) return p_cuMemPoolTrimTo(pool_named(a[1]), N(2));
  if (IS("threshold")) return threshold();
  if (IS("create")) return physical();
  if (IS("release")) return p_cuMemRelease(value(a[1]));
  if (IS("export")) return export_handle();
  if (IS("import")) return import_handle();
  if (IS("shut")) return close((int)value(a[1]));
  if (IS("map")) return map_memory();
  if (IS("unmap")) return p_cuMemUnmap(value(a[1]), keep(a[1])->bytes);
  if (IS("retain")) return p_cuMemRetainAllocationHandle(&keep(a[1])->value, (void *)(uintptr_t)(value(a[2]) + N(3)));
  if (IS("ipc-out")) return ipc_file(1);
  if (IS("ipc-in")) return ipc_file(0);
  if (IS("ipc-close")) return p_cuIpcCloseMemHandle(value(a[1]));
  if (IS("run")) return run_copy();
  if (IS("node")) return graph_node();
  if (IS("external")) return external();
  if (IS("pools")) return many_pools();
  if (IS("folder")) return chdir("/");
  if (IS("descriptors")) return descriptors();
  if (IS("memory")) return memory();
  if (IS("text")) return text();
  fail(a[0], "no such step");
}

// fork: the steps behind it are run by a child as well; the parent waits and goes on behind its line.
static void fork_here(void) {
  fflush(stdout);
  pid_t child = fork();
  int status = 0;
  if (child < 0) fail("fork", NULL);
  printf("%s", child ? "parent " : "child ");
  if (child && waitpid(child, &status, 0) != child) fail("wait", NULL);
  printf("fork %d\n", status);
}

int driver_steps(int argc, char **argv);
int driver_steps(int argc, char **argv) {
  if (argc < 2) fail("usage", "driver-steps HOW STEP...");
  bind(argv[1]);
  for (int i = 2; i < argc; i++) {
    char *line = strdup(argv[i]), *save = NULL;
    n = 0;
    for (char *word = strtok_r(line, ":", &save); word && n < MAX_ARGS; word = strtok_r(NULL, ":", &save)) a[n++] = word;
    if (!strcmp(line, "fork")) {
      fork_here();
      continue;
    }
    printf("%s ", argv[i]);
    printf("= %d\n", step());
    fflush(stdout);
  }
  return 0;
}

#ifndef PLUGIN
int main(int argc, char **argv) { return driver_steps(argc, argv); }
#endif
