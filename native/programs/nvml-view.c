// SPDX-License-Identifier: Apache-2.0
// nvml-view [allocate:BYTES] [wait] [device:UUID]: what NVML tells this process, as tools that dlopen it see it. One line each:
//   memory TOTAL FREE USED / memory2 TOTAL RESERVED FREE USED / bar1 TOTAL FREE USED / attributes MB
//   processes N PID:USED... / details N PID... / utilization N PID... / accounting PID RESULT / temperature RESULT / missing RESULT
// `allocate` takes memory through the driver first; `wait` prints "ready" and waits for the end of standard input.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake/cuda/api.h"
#include "nvml/api.h"

typedef nvmlReturn_t query(nvmlDevice_t device, void *out);
typedef nvmlReturn_t processes(nvmlDevice_t device, unsigned *count, void *out);
static void *nvml;

static void *function(const char *name) {
  void *found = dlsym(nvml, name);
  if (!found) fprintf(stderr, "no %s\n", name), exit(3);
  return found;
}
static nvmlReturn_t ask(const char *name, nvmlDevice_t device, void *out) { return ((query *)function(name))(device, out); }

static int allocate(uint64_t bytes) {
  void *driver = dlopen("libcuda.so.1", RTLD_NOW);
  if (!driver) return -1;
  CUresult (*init)(unsigned) = (CUresult(*)(unsigned))dlsym(driver, "cuInit");
  CUresult (*retain)(CUcontext *, CUdevice) = (CUresult(*)(CUcontext *, CUdevice))dlsym(driver, "cuDevicePrimaryCtxRetain");
  CUresult (*set)(CUcontext) = (CUresult(*)(CUcontext))dlsym(driver, "cuCtxSetCurrent");
  CUresult (*take)(CUdeviceptr *, size_t) = (CUresult(*)(CUdeviceptr *, size_t))dlsym(driver, "cuMemAlloc_v2");
  CUcontext context;
  CUdeviceptr memory;
  CUresult result = init(0);
  if (!result) result = retain(&context, 0);
  if (!result) result = set(context);
  return result ? result : take(&memory, bytes);
}

static void list(const char *name, nvmlDevice_t device, size_t size) {
  char room[64][sizeof(nvmlProcessInfo_v2_t)];
  unsigned count = 0;
  nvmlReturn_t first = ((processes *)function(name))(device, &count, NULL);
  unsigned wanted = count;
  nvmlReturn_t result = ((processes *)function(name))(device, &count, room);
  printf("processes %u", count);
  if (first != (wanted ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS) || result || count != wanted) printf(" ?%d/%d/%u", first, result, wanted);
  for (unsigned i = 0; !result && i < count; i++) {
    nvmlProcessInfo_v1_t process;
    memcpy(&process, (char *)room + i * size, sizeof process);
    printf(" %u:%llu", process.pid, process.used);
  }
  printf("\n");
}

static void details(nvmlDevice_t device) {
  nvmlProcessDetail_v1_t entries[64];
  nvmlProcessDetailList_v1_t all = {.version = sizeof all | 1u << 24, .count = 64, .list = entries};
  nvmlReturn_t result = ask("nvmlDeviceGetRunningProcessDetailList", device, &all);
  printf("details %u", result ? 0 : all.count);
  for (unsigned i = 0; !result && i < all.count; i++) printf(" %u", entries[i].pid);
  nvmlProcessUtilizationSample_t samples[64];
  unsigned count = 64;
  typedef nvmlReturn_t sampled(nvmlDevice_t, void *, unsigned *, unsigned long long);
  result = ((sampled *)function("nvmlDeviceGetProcessUtilization"))(device, samples, &count, 0);
  printf("\nutilization %u", result ? 0 : count);
  for (unsigned i = 0; !result && i < count; i++) printf(" %u", samples[i].pid);
  printf("\n");
}

int main(int argc, char **argv) {
  const char *uuid = NULL;
  int wait = 0;
  for (int i = 1; i < argc; i++) {
    if (!strncmp(argv[i], "allocate:", 9)) printf("allocate %d\n", allocate(strtoull(argv[i] + 9, NULL, 0)));
    if (!strncmp(argv[i], "device:", 7)) uuid = argv[i] + 7;
    if (!strcmp(argv[i], "wait")) wait = 1;
  }
  nvml = dlopen("libnvidia-ml.so.1", RTLD_NOW);
  if (!nvml) return printf("no library\n"), 0;
  nvmlReturn_t result = ((nvmlReturn_t(*)(void))function("nvmlInit_v2"))();
  if (result) return printf("init %d %s\n", result, ((const char *(*)(nvmlReturn_t))function("nvmlErrorString"))(result)), 0;
  nvmlDevice_t device = NULL;
  result = uuid ? ((nvmlReturn_t(*)(const char *, nvmlDevice_t *))function("nvmlDeviceGetHandleByUUID"))(uuid, &device)
                : ((nvmlReturn_t(*)(unsigned, nvmlDevice_t *))function("nvmlDeviceGetHandleByIndex_v2"))(0, &device);
  if (result) return printf("device %d\n", result), 0;
  if (wait) {
    printf("ready\n");
    fflush(stdout);
    while (getchar() != EOF) continue;
  }
  nvmlMemory_t memory = {0};
  nvmlMemory_v2_t memory2 = {.version = sizeof memory2 | 2u << 24};
  nvmlBAR1Memory_t window = {0};
  nvmlDeviceAttributes_t attributes = {0};
  ask("nvmlDeviceGetMemoryInfo", device, &memory);
  ask("nvmlDeviceGetMemoryInfo_v2", device, &memory2);
  ask("nvmlDeviceGetBAR1MemoryInfo", device, &window);
  ask("nvmlDeviceGetAttributes_v2", device, &attributes);
  printf("memory %llu %llu %llu\n", memory.total, memory.free, memory.used);
  printf("memory2 %llu %llu %llu %llu\n", memory2.total, memory2.reserved, memory2.free, memory2.used);
  printf("bar1 %llu %llu %llu\n", window.total, window.free, window.used);
  printf("attributes %llu\n", attributes.memory_mb);
  list("nvmlDeviceGetComputeRunningProcesses", device, sizeof(nvmlProcessInfo_v1_t));
  list("nvmlDeviceGetComputeRunningProcesses_v2", device, sizeof(nvmlProcessInfo_v2_t));
  list("nvmlDeviceGetComputeRunningProcesses_v3", device, sizeof(nvmlProcessInfo_v2_t));
  details(device);
  typedef nvmlReturn_t accounted(nvmlDevice_t, unsigned, void *);
  char stats[128];
  printf("accounting %d %d\n", ((accounted *)function("nvmlDeviceGetAccountingStats"))(device, (unsigned)getpid(), stats),
         ((accounted *)function("nvmlDeviceGetAccountingStats"))(device, 1, stats));
  typedef nvmlReturn_t temperature(nvmlDevice_t, int, unsigned *);
  unsigned degrees;
  printf("temperature %d\n", ((temperature *)function("nvmlDeviceGetTemperature"))(device, 0, &degrees));
  return 0;
}
