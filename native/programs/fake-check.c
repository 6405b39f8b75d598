// SPDX-License-Identifier: Apache-2.0
// fake-check: is the fake driver what the other tests take it for? Linked to it, nothing preloaded. Says what is not as it should be.
#include "fake/cuda/api.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

CUresult cuInit(unsigned);
CUresult cuCtxCreate_v2(CUcontext *, unsigned, CUdevice);
CUresult cuCtxDestroy_v2(CUcontext);
CUresult cuCtxSetCurrent(CUcontext);
CUresult cuCtxSynchronize(void);
CUresult cuDevicePrimaryCtxRetain(CUcontext *, CUdevice);
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice);
CUresult cuDevicePrimaryCtxReset_v2(CUdevice);
CUresult cuMemGetInfo_v2(size_t *, size_t *);
CUresult cuMemAlloc(CUdeviceptr_v1 *, unsigned);
CUresult cuMemFree(CUdeviceptr_v1);
CUresult cuMemAlloc_v2(CUdeviceptr *, size_t);
CUresult cuMemFree_v2(CUdeviceptr);
CUresult cuMemAllocManaged(CUdeviceptr *, size_t, unsigned);
CUresult cuMemAllocPitch_v2(CUdeviceptr *, size_t *, size_t, size_t, unsigned);
CUresult cuMemGetAddressRange_v2(CUdeviceptr *, size_t *, CUdeviceptr);
CUresult cuMemAllocAsync(CUdeviceptr *, size_t, CUstream);
CUresult cuMemFreeAsync(CUdeviceptr, CUstream);
CUresult cuMemPoolCreate(CUmemoryPool *, const CUmemPoolProps *);
CUresult cuMemPoolDestroy(CUmemoryPool);
CUresult cuMemPoolTrimTo(CUmemoryPool, size_t);
CUresult cuMemPoolGetAttribute(CUmemoryPool, int, void *);
CUresult cuMemPoolSetAttribute(CUmemoryPool, int, void *);
CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *, CUdevice);
CUresult cuMemAllocFromPoolAsync(CUdeviceptr *, size_t, CUmemoryPool, CUstream);
CUresult cuMemCreate(CUhandle *, size_t, const CUmemAllocationProp *, unsigned long long);
CUresult cuMemRelease(CUhandle);
CUresult cuMemAddressReserve(CUdeviceptr *, size_t, size_t, CUdeviceptr, unsigned long long);
CUresult cuMemAddressFree(CUdeviceptr, size_t);
CUresult cuMemMap(CUdeviceptr, size_t, size_t, CUhandle, unsigned long long);
CUresult cuMemUnmap(CUdeviceptr, size_t);
CUresult cuMemRetainAllocationHandle(CUhandle *, void *);
CUresult cuMemExportToShareableHandle(void *, CUhandle, int, unsigned long long);
CUresult cuMemImportFromShareableHandle(CUhandle *, void *, int);
CUresult cuIpcGetMemHandle(CUipcMemHandle *, CUdeviceptr);
CUresult cuIpcOpenMemHandle_v2(CUdeviceptr *, CUipcMemHandle, unsigned);
CUresult cuIpcCloseMemHandle(CUdeviceptr);
CUresult cuArrayCreate_v2(CUarray *, const CUDA_ARRAY_DESCRIPTOR *);
CUresult cuArrayDestroy(CUarray);
CUresult cuMipmappedArrayCreate(CUmipmappedArray *, const CUDA_ARRAY3D_DESCRIPTOR *, unsigned);
CUresult cuMipmappedArrayGetLevel(CUarray *, CUmipmappedArray, unsigned);
CUresult cuMipmappedArrayDestroy(CUmipmappedArray);
CUresult cuGraphCreate(CUgraph *, unsigned);
CUresult cuGraphDestroy(CUgraph);
CUresult cuGraphAddMemAllocNode(CUgraphNode *, CUgraph, const CUgraphNode *, size_t, CUDA_MEM_ALLOC_NODE_PARAMS *);
CUresult cuGraphAddMemFreeNode(CUgraphNode *, CUgraph, const CUgraphNode *, size_t, CUdeviceptr);
CUresult cuGraphInstantiateWithFlags(CUgraphExec *, CUgraph, unsigned long long);
CUresult cuGraphLaunch(CUgraphExec, CUstream);
CUresult cuGraphExecDestroy(CUgraphExec);
CUresult cuDeviceGraphMemTrim(CUdevice);
CUresult cuDeviceGetGraphMemAttribute(CUdevice, int, void *);
CUresult cuStreamCreate(CUstream *, unsigned);
CUresult cuStreamBeginCapture_v2(CUstream, int);
CUresult cuStreamEndCapture(CUstream, CUgraph *);
CUresult cuGetProcAddress_v2(const char *, void **, int, uint64_t, int *);

static int wrong;
static void check(int holds, int line, const char *what) {
  if (!holds) printf("line %d: %s\n", line, what), wrong++;
}
#define CHECK(condition) check(condition, __LINE__, #condition)
#define IS(expected, call) CHECK((call) == (expected))
#define OK(call) IS(CUDA_SUCCESS, call)
#define OOM(call) IS(CUDA_ERROR_OUT_OF_MEMORY, call)

static const size_t MiB = 1 << 20;
static size_t whole;
static size_t used(void) {
  size_t free_bytes = 0;
  cuMemGetInfo_v2(&free_bytes, NULL);
  return whole - free_bytes;
}

static void linear(void) {
  CUdeviceptr a, b, base;
  CUdeviceptr_v1 low, low2;
  size_t pitch, bytes;
  OK(cuMemAlloc_v2(&a, whole - MiB));
  OOM(cuMemAlloc_v2(&b, MiB + 1));
  OK(cuMemAlloc_v2(&b, MiB));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemFree_v2(a + 1));
  OK(cuMemGetAddressRange_v2(&base, &bytes, a + 4711));
  CHECK(base == a && bytes == whole - MiB);
  OK(cuMemFree_v2(a));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemFree_v2(a));
  CHECK(used() == MiB);
  OK(cuMemFree_v2(b));
  CUdeviceptr again;
  OK(cuMemAlloc_v2(&again, MiB));
  CHECK(again == b); /* an address is used again at once */
  OK(cuMemFree_v2(again));
  OK(cuMemFree_v2(0));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemAlloc_v2(&a, 0));
  OOM(cuMemAlloc_v2(&a, SIZE_MAX));
  OK(cuMemAllocPitch_v2(&a, &pitch, 1000, 10, 4));
  CHECK(pitch == 1024 && used() == 10240);
  OOM(cuMemAllocPitch_v2(&b, &pitch, SIZE_MAX - 4096, 1 << 20, 4));
  OK(cuMemFree_v2(a));
  OK(cuMemAllocManaged(&a, 3 * MiB, 1));
  memset((void *)(uintptr_t)a, 1, 3 * MiB); // NOLINT: managed memory is the host's too
  CHECK(used() == 3 * MiB);
  OK(cuMemFree_v2(a));
  OK(cuMemAlloc(&low, 5 << 20));
  OK(cuMemAlloc(&low2, 1));
  CHECK(low != low2 && used() == 5 * MiB + 1);
  OK(cuMemFree(low));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemFree(low));
  OK(cuMemFree(low2));
  CHECK(used() == 0);
}

static void arrays(void) {
  CUarray array, level, same;
  CUmipmappedArray mipmap;
  OK(cuArrayCreate_v2(&array, &(CUDA_ARRAY_DESCRIPTOR){100, 50, 0x20, 4}));
  CHECK(used() == 100 * 50 * 16);
  OK(cuMipmappedArrayCreate(&mipmap, &(CUDA_ARRAY3D_DESCRIPTOR){8, 8, 0, 0x01, 1, 0}, 9));
  CHECK(used() == 100 * 50 * 16 + 64 + 16 + 4 + 1); /* no more levels than there are */
  OK(cuMipmappedArrayGetLevel(&level, mipmap, 1));
  OK(cuMipmappedArrayGetLevel(&same, mipmap, 1));
  CHECK(level == same);
  IS(CUDA_ERROR_INVALID_HANDLE, cuArrayDestroy(level));
  OK(cuArrayDestroy(array));
  IS(CUDA_ERROR_INVALID_HANDLE, cuArrayDestroy(array));
  OK(cuMipmappedArrayDestroy(mipmap));
  OK(cuArrayCreate_v2(&array, &(CUDA_ARRAY_DESCRIPTOR){5, 5, 0x91, 1})); /* blocks of 4 x 4, 8 bytes each */
  CHECK(used() == 4 * 8);
  OK(cuArrayDestroy(array));
  CHECK(used() == 0);
}

static void pools(void) {
  CUmemoryPool pool;
  CUdeviceptr a, b;
  uint64_t reserved, threshold = 64 * MiB;
  OK(cuDeviceGetDefaultMemPool(&pool, 0));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemPoolDestroy(pool));
  OK(cuMemAllocAsync(&a, 40 * MiB, NULL));
  CHECK(used() == 64 * MiB); /* two steps of 32 MiB */
  OK(cuMemAllocAsync(&b, 24 * MiB, NULL));
  CHECK(used() == 64 * MiB);
  OK(cuMemFreeAsync(a, NULL));
  CHECK(used() == 64 * MiB);
  OK(cuMemPoolTrimTo(pool, 0));
  OK(cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, &reserved));
  CHECK(reserved == 24 * MiB && used() == reserved);
  OK(cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &threshold));
  OK(cuMemAllocAsync(&a, 100 * MiB, NULL));
  OK(cuMemFreeAsync(a, NULL));
  OK(cuMemFree_v2(b)); /* an address of a pool, freed the old way */
  OK(cuCtxSynchronize());
  CHECK(used() == 64 * MiB);
  threshold = 0;
  OK(cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &threshold));
  OK(cuCtxSynchronize());
  CHECK(used() == 0);
  OK(cuMemPoolCreate(&pool, &(CUmemPoolProps){.allocType = 1, .location = {1, 0}, .maxSize = 32 * MiB}));
  OOM(cuMemAllocFromPoolAsync(&a, 33 * MiB, pool, NULL));
  OK(cuMemAllocFromPoolAsync(&a, MiB, pool, NULL));
  OK(cuMemPoolDestroy(pool)); /* lives until its last allocation is freed */
  CHECK(used() == 32 * MiB); /* all that it has */
  OK(cuMemFreeAsync(a, NULL));
  CHECK(used() == 0);
  OK(cuDeviceGetDefaultMemPool(&pool, 0));
  OK(cuMemAllocAsync(&a, 1, NULL));
  OK(cuMemPoolTrimTo(pool, 0));
  CHECK(used() == 2 * MiB); /* the page that it lies in */
  OK(cuMemFreeAsync(a, NULL));
  OK(cuCtxSynchronize());
  CHECK(used() == 0);
}

static void virtual_memory(void) {
  const CUmemAllocationProp prop = {.type = 1, .location = {1, 0}}, host = {.type = 1, .location = {2, 0}};
  CUhandle handle, same, imported;
  CUdeviceptr range;
  int file = -1;
  IS(CUDA_ERROR_INVALID_VALUE, cuMemCreate(&handle, MiB, &prop, 0)); /* not whole granules */
  OK(cuMemCreate(&handle, 4 * MiB, &host, 0));
  CHECK(used() == 0);
  OK(cuMemRelease(handle));
  OK(cuMemCreate(&handle, 4 * MiB, &prop, 0));
  OK(cuMemAddressReserve(&range, 64 * MiB, 0, 0, 0));
  OK(cuMemMap(range, 4 * MiB, 0, handle, 0));
  OK(cuMemMap(range + 8 * MiB, 4 * MiB, 0, handle, 0));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemMap(range + 2 * MiB, 4 * MiB, 0, handle, 0)); /* overlaps */
  OK(cuMemRelease(handle));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemRelease(handle));
  OK(cuMemRetainAllocationHandle(&same, (void *)(uintptr_t)(range + MiB))); // NOLINT
  OK(cuMemUnmap(range, 4 * MiB));
  OK(cuMemUnmap(range + 8 * MiB, 4 * MiB));
  CHECK(used() == 4 * MiB); /* the handle that was retained holds it */
  OK(cuMemExportToShareableHandle(&file, same, 1, 0));
  OK(cuMemImportFromShareableHandle(&imported, (void *)(intptr_t)file, 1)); // NOLINT
  close(file);
  CHECK(used() == 4 * MiB);
  OK(cuMemRelease(same));
  CHECK(used() == 4 * MiB); /* its own import holds it */
  OK(cuMemMap(range, 4 * MiB, 0, imported, 0));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemAddressFree(range, 64 * MiB)); /* something is mapped */
  OK(cuMemUnmap(range, 4 * MiB));
  OK(cuMemAddressFree(range, 64 * MiB));
  OK(cuMemRelease(imported));
  CHECK(used() == 0);
}

static void ipc(void) {
  CUdeviceptr a, b, c;
  CUipcMemHandle handle;
  OK(cuMemAlloc_v2(&a, MiB));
  OK(cuIpcGetMemHandle(&handle, a));
  OK(cuIpcOpenMemHandle_v2(&b, handle, 1));
  OK(cuIpcOpenMemHandle_v2(&c, handle, 1));
  CHECK(b == c && b != a && used() == MiB);
  IS(CUDA_ERROR_INVALID_VALUE, cuMemFree_v2(b));
  OK(cuIpcCloseMemHandle(b));
  OK(cuIpcCloseMemHandle(b));
  IS(CUDA_ERROR_INVALID_VALUE, cuIpcCloseMemHandle(b));
  OK(cuMemFree_v2(a));
}

static void graphs(void) {
  CUgraph graph, captured;
  CUgraphNode node;
  CUgraphExec exec;
  CUstream stream;
  CUdeviceptr kept, address;
  uint64_t reserved;
  CUDA_MEM_ALLOC_NODE_PARAMS params = {.poolProps = {.allocType = 1, .location = {1, 0}}, .bytesize = 6 * MiB};
  OK(cuGraphCreate(&graph, 0));
  OK(cuGraphAddMemAllocNode(&node, graph, NULL, 0, &params));
  OK(cuGraphAddMemFreeNode(&node, graph, NULL, 0, params.dptr));
  params.bytesize = 4 * MiB;
  OK(cuGraphAddMemAllocNode(&node, graph, NULL, 0, &params));
  kept = params.dptr;
  OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
  CHECK(used() == 0);
  OK(cuGraphLaunch(exec, NULL));
  CHECK(used() == 10 * MiB);
  IS(CUDA_ERROR_INVALID_VALUE, cuGraphLaunch(exec, NULL)); /* what it left is not freed yet */
  OK(cuMemFree_v2(kept));
  OK(cuGraphLaunch(exec, NULL));
  OK(cuMemFreeAsync(kept, NULL));
  OK(cuGraphExecDestroy(exec));
  OK(cuGraphDestroy(graph));
  OK(cuDeviceGetGraphMemAttribute(0, CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT, &reserved));
  CHECK(reserved == 10 * MiB && used() == reserved);
  OK(cuDeviceGraphMemTrim(0));
  CHECK(used() == 0);
  OK(cuStreamCreate(&stream, 1));
  OK(cuStreamBeginCapture_v2(stream, 0));
  OK(cuMemAllocAsync(&address, 2 * MiB, stream));
  OK(cuMemFreeAsync(address, stream));
  OK(cuStreamEndCapture(stream, &captured));
  CHECK(used() == 0);
  OK(cuGraphInstantiateWithFlags(&exec, captured, 0));
  OK(cuGraphLaunch(exec, stream));
  CHECK(used() == 2 * MiB);
  OK(cuGraphExecDestroy(exec));
  OK(cuDeviceGraphMemTrim(0));
  CHECK(used() == 0);
}

static void contexts(CUcontext first) {
  CUcontext own, primary;
  CUdeviceptr a, b;
  CUarray array;
  OK(cuCtxCreate_v2(&own, 0, 0));
  OK(cuMemAlloc_v2(&a, MiB));
  OK(cuArrayCreate_v2(&array, &(CUDA_ARRAY_DESCRIPTOR){100, 1, 0x01, 1}));
  OK(cuCtxSetCurrent(first));
  OK(cuMemAlloc_v2(&b, 3 * MiB));
  OK(cuCtxDestroy_v2(own));
  CHECK(used() == 3 * MiB); /* only what was allocated in it went with it */
  IS(CUDA_ERROR_INVALID_VALUE, cuMemFree_v2(a));
  IS(CUDA_ERROR_INVALID_CONTEXT, cuCtxSetCurrent(own));
  OK(cuMemFree_v2(b));
  OK(cuDevicePrimaryCtxRetain(&primary, 0));
  OK(cuCtxSetCurrent(primary));
  OK(cuMemAlloc_v2(&a, MiB));
  OK(cuDevicePrimaryCtxReset_v2(0));
  CHECK(used() == 0);
  OK(cuDevicePrimaryCtxRelease_v2(0));
  IS(CUDA_ERROR_CONTEXT_IS_DESTROYED, cuMemAlloc_v2(&a, MiB));
  OK(cuCtxSetCurrent(first));
}

static void look_ups(void) {
  void *legacy, *per_thread, *old, *none;
  int status;
  OK(cuGetProcAddress_v2("cuMemAllocAsync", &legacy, 12000, 0, &status));
  OK(cuGetProcAddress_v2("cuMemAllocAsync", &per_thread, 12000, 2, &status));
  CHECK(legacy != per_thread && legacy == (void *)cuMemAllocAsync && status == 0);
  OK(cuGetProcAddress_v2("cuMemAlloc", &old, 3010, 0, &status));
  CHECK(old == (void *)cuMemAlloc);
  OK(cuGetProcAddress_v2("cuMemAlloc", &old, 12000, 2, &status));
  CHECK(old == (void *)cuMemAlloc_v2);
  IS(CUDA_ERROR_NOT_FOUND, cuGetProcAddress_v2("cuMemAllocAsync", &none, 11010, 0, &status));
  CHECK(!none && status == CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
  IS(CUDA_ERROR_NOT_FOUND, cuGetProcAddress_v2("cuNoSuchThing", &none, 12000, 0, &status));
  CHECK(!none && status == CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
  IS(CUDA_ERROR_INVALID_VALUE, cuGetProcAddress_v2("cuMemAlloc", &none, 99000, 0, &status));
}

enum { THREADS = 4, ROUNDS = 20000, SLOTS = 32 };
static void *busy(void *context) {
  CUdeviceptr slots[SLOTS] = {0};
  unsigned seed = (unsigned)(uintptr_t)&slots;
  if (cuCtxSetCurrent(context)) return (void *)1;
  for (int i = 0; i < ROUNDS; i++) {
    seed = seed * 1664525u + 1013904223u;
    CUdeviceptr *slot = &slots[(seed >> 8) % SLOTS];
    if (*slot && cuMemFree_v2(*slot)) return (void *)2;
    *slot = 0;
    CUresult result = cuMemAlloc_v2(slot, (seed >> 16) * 128 + 1);
    if (result && result != CUDA_ERROR_OUT_OF_MEMORY) return (void *)3;
    if (result) *slot = 0;
  }
  for (int i = 0; i < SLOTS; i++)
    if (slots[i] && cuMemFree_v2(slots[i])) return (void *)4;
  return NULL;
}
static void threads(CUcontext context) {
  pthread_t running[THREADS];
  for (int i = 0; i < THREADS; i++) CHECK(!pthread_create(&running[i], NULL, busy, context));
  for (int i = 0; i < THREADS; i++) {
    void *result;
    pthread_join(running[i], &result);
    CHECK(!result);
  }
  CHECK(used() == 0);
  CUdeviceptr all;
  OK(cuMemAlloc_v2(&all, whole));
  OK(cuMemFree_v2(all));
}

static void forked(void) {
  fflush(stdout);
  pid_t child = fork();
  CUdeviceptr a;
  if (!child) _exit(cuMemAlloc_v2(&a, 1) == CUDA_ERROR_NOT_INITIALIZED && cuInit(0) == CUDA_ERROR_NOT_INITIALIZED ? 0 : 1);
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(status == 0);
}

int main(void) {
  CUcontext context;
  CUdeviceptr a;
  IS(CUDA_ERROR_NOT_INITIALIZED, cuMemAlloc_v2(&a, 1));
  OK(cuInit(0));
  IS(CUDA_ERROR_INVALID_CONTEXT, cuMemAlloc_v2(&a, 1));
  OK(cuCtxCreate_v2(&context, 0, 0));
  OK(cuMemGetInfo_v2(NULL, &whole));
  linear();
  arrays();
  pools();
  virtual_memory();
  ipc();
  graphs();
  contexts(context);
  look_ups();
  threads(context);
  forked();
  CHECK(used() == 0);
  OK(cuCtxDestroy_v2(context));
  return wrong ? 1 : 0;
}
