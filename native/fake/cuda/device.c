// SPDX-License-Identifier: Apache-2.0
// Enumeration, attributes, names of errors, and what a program needs around its allocations: events and modules.
#include "fake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEVICE(device) \
  if ((device) < 0 || (device) >= knobs.devices) return CUDA_ERROR_INVALID_DEVICE

API CUresult cuDriverGetVersion(int *version) {
  const char *text = getenv("FAKE_CUDA_DRIVER"); /* may be asked before cuInit */
  if (!version) return CUDA_ERROR_INVALID_VALUE;
  *version = text && *text ? atoi(text) : DRIVER_VERSION;
  return CUDA_SUCCESS;
}
API CUresult cuDeviceGetCount(int *count) {
  ENTER();
  if (!count) return CUDA_ERROR_INVALID_VALUE;
  *count = knobs.devices;
  return CUDA_SUCCESS;
}
API CUresult cuDeviceGet(CUdevice *device, int ordinal) {
  ENTER();
  if (!device) return CUDA_ERROR_INVALID_VALUE;
  DEVICE(ordinal);
  *device = ordinal;
  return CUDA_SUCCESS;
}
API CUresult cuDeviceGetName(char *name, int length, CUdevice device) {
  ENTER();
  DEVICE(device);
  if (!name || length < 1) return CUDA_ERROR_INVALID_VALUE;
  snprintf(name, (size_t)length, "Penstock fake card %d", knobs.order[device]);
  return CUDA_SUCCESS;
}
static CUresult uuid(CUuuid *out, CUdevice device) {
  DEVICE(device);
  if (!out) return CUDA_ERROR_INVALID_VALUE;
  *out = knobs.uuid[device];
  return CUDA_SUCCESS;
}
API CUresult cuDeviceGetUuid(CUuuid *out, CUdevice device) {
  ENTER();
  return uuid(out, device);
}
API CUresult cuDeviceGetUuid_v2(CUuuid *out, CUdevice device) {
  ENTER();
  return uuid(out, device);
}
API CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device) {
  ENTER();
  DEVICE(device);
  if (!bytes) return CUDA_ERROR_INVALID_VALUE;
  *bytes = (size_t)knobs.memory[device];
  return CUDA_SUCCESS;
}
API CUresult cuDeviceGetPCIBusId(char *id, int length, CUdevice device) {
  ENTER();
  DEVICE(device);
  if (!id || length < 13) return CUDA_ERROR_INVALID_VALUE;
  snprintf(id, (size_t)length, "0000:%02x:00.0", (unsigned)(0x10 + knobs.order[device]) & 0xffu);
  return CUDA_SUCCESS;
}

/* The few that programs decide by; any other answers 1, as "supported". */
API CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device) {
  static const struct {
    int attribute, value;
  } known[] = {
      {1, 1024}, {2, 1024}, {3, 1024}, {4, 64}, {5, 2147483647}, {6, 65535}, {7, 65535}, {8, 49152}, {9, 65536}, {10, 32},
      {12, 65536}, {13, 1500000}, {14, 512}, {16, 80}, {20, 0}, {36, 2600000}, {37, 5120}, {38, 52428800}, {39, 2048},
      {51, 32}, {75, 9}, {76, 0}, {81, 233472}, {82, 65536}, {97, 232448},
      {115, 1}, /* memory pools */
  };
  ENTER();
  DEVICE(device);
  if (!value || attribute < 1) return CUDA_ERROR_INVALID_VALUE;
  *value = 1;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (known[i].attribute == attribute) *value = known[i].value;
  return CUDA_SUCCESS;
}

static const struct {
  CUresult error;
  const char *name, *text;
} errors[] = {
    {CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
    {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {CUDA_ERROR_NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {CUDA_ERROR_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {CUDA_ERROR_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {CUDA_ERROR_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {CUDA_ERROR_CONTEXT_IS_DESTROYED, "CUDA_ERROR_CONTEXT_IS_DESTROYED", "context is destroyed"},
    {CUDA_ERROR_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {CUDA_ERROR_NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
};
static CUresult describe(CUresult error, const char **out, bool name) {
  if (!out) return CUDA_ERROR_INVALID_VALUE;
  *out = NULL;
  for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
    if (errors[i].error == error) *out = name ? errors[i].name : errors[i].text;
  return *out ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
API CUresult cuGetErrorName(CUresult error, const char **out) { return describe(error, out, true); }
API CUresult cuGetErrorString(CUresult error, const char **out) { return describe(error, out, false); }
/* Undocumented tables: a fake has none. */
API CUresult cuGetExportTable(const void **table, const CUuuid *id) {
  ENTER();
  (void)id;
  if (table) *table = NULL;
  return CUDA_ERROR_NOT_FOUND;
}

/* ---- events and modules: handles only ---- */
static CUresult token(uint64_t *out, enum object_kind kind) {
  static char nothing;
  if (!out) return CUDA_ERROR_INVALID_VALUE;
  LOCKED(*out = object_new(kind, &nothing));
  return *out ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
static CUresult token_end(uint64_t handle, enum object_kind kind) {
  void *object;
  LOCKED(object = object_get(handle, kind); if (object) object_drop(handle));
  return object ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
API CUresult cuEventCreate(uint64_t *event, unsigned int flags) {
  ENTER();
  (void)flags;
  return token(event, OBJECT_EVENT);
}
API CUresult cuEventDestroy(uint64_t event) {
  ENTER();
  return token_end(event, OBJECT_EVENT);
}
API CUresult cuEventDestroy_v2(uint64_t event) {
  ENTER();
  return token_end(event, OBJECT_EVENT);
}
API CUresult cuEventRecord(uint64_t event, CUstream stream) {
  ENTER();
  (void)event, (void)stream;
  return CUDA_SUCCESS;
}
API CUresult cuEventRecord_ptsz(uint64_t event, CUstream stream) {
  ENTER();
  (void)event, (void)stream;
  return CUDA_SUCCESS;
}
API CUresult cuEventQuery(uint64_t event) {
  ENTER();
  (void)event;
  return CUDA_SUCCESS;
}
API CUresult cuEventSynchronize(uint64_t event) {
  ENTER();
  (void)event;
  CURRENT(context);
  LOCKED(pools_settle(context->device));
  return CUDA_SUCCESS;
}
API CUresult cuModuleLoad(uint64_t *module, const char *path) {
  ENTER();
  (void)path;
  return token(module, OBJECT_MODULE);
}
API CUresult cuModuleLoadData(uint64_t *module, const void *image) {
  ENTER();
  (void)image;
  return token(module, OBJECT_MODULE);
}
API CUresult cuModuleUnload(uint64_t module) {
  ENTER();
  return token_end(module, OBJECT_MODULE);
}
