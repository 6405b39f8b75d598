// SPDX-License-Identifier: Apache-2.0
// Contexts: each costs device memory (FAKE_CUDA_CONTEXT), and the end of one frees what was allocated in it.
#include "fake.h"

#include <stdlib.h>

enum { MAX_CONTEXTS = 4096 };
struct frame {
  struct context *context;
  struct frame *below;
};
/* Never freed: a stale handle has to be told apart. A slot is used again once its context is gone. */
static struct context contexts[MAX_CONTEXTS];
static struct context primary[MAX_DEVICES];
void low_end_all(const struct context *context);

static struct context *context_of(CUcontext handle) {
  struct context *context = (struct context *)(void *)handle;
  bool created = context >= contexts && context < contexts + MAX_CONTEXTS;
  bool first = context >= primary && context < primary + MAX_DEVICES;
  return (created || first) && atomic_load(&context->alive) ? context : NULL;
}

static CUcontext handle_of(struct context *context) { return (CUcontext)(void *)context; }

static CUresult start(struct context *context, int device, unsigned flags) {
  uint64_t cost = knobs.context;
  if (cost && !card_take(device, cost)) return CUDA_ERROR_OUT_OF_MEMORY;
  context->device = device;
  context->flags = flags;
  context->cost = cost;
  atomic_store(&context->alive, true);
  return CUDA_SUCCESS;
}

/* The lock is held. */
static void stop(struct context *context) {
  atomic_store(&context->alive, false);
  context_ended(context);
  arrays_end_all(context);
  low_end_all(context);
  block_end_all(context);
  card_give(context->device, context->cost);
}

static CUresult push(struct context *context) {
  struct frame *frame = malloc(sizeof *frame);
  if (!frame) return CUDA_ERROR_OUT_OF_MEMORY;
  *frame = (struct frame){.context = fake_thread.current, .below = fake_thread.below};
  fake_thread.below = frame;
  fake_thread.current = context;
  return CUDA_SUCCESS;
}

static void pop(void) {
  struct frame *frame = fake_thread.below;
  fake_thread.current = frame ? frame->context : NULL;
  fake_thread.below = frame ? frame->below : NULL;
  free(frame);
}

static CUresult create(CUcontext *out, unsigned flags, CUdevice device, unsigned api) {
  if (!out) return CUDA_ERROR_INVALID_VALUE;
  if (device < 0 || device >= knobs.devices) return CUDA_ERROR_INVALID_DEVICE;
  CUresult result = CUDA_ERROR_OUT_OF_MEMORY;
  pthread_mutex_lock(&fake_lock);
  for (int i = 0; i < MAX_CONTEXTS; i++) {
    if (atomic_load(&contexts[i].alive)) continue;
    result = start(&contexts[i], device, flags);
    contexts[i].api = api;
    if (!result) *out = handle_of(&contexts[i]);
    break;
  }
  pthread_mutex_unlock(&fake_lock);
  return result ? result : push(context_of(*out));
}

API CUresult cuCtxCreate(CUcontext *out, unsigned int flags, CUdevice device) {
  ENTER();
  return create(out, flags, device, 2000);
}
API CUresult cuCtxCreate_v2(CUcontext *out, unsigned int flags, CUdevice device) {
  ENTER();
  return create(out, flags, device, 3020);
}
API CUresult cuCtxCreate_v3(CUcontext *out, void *affinity, int count, unsigned int flags, CUdevice device) {
  ENTER();
  (void)affinity, (void)count;
  return create(out, flags, device, 11040);
}
API CUresult cuCtxCreate_v4(CUcontext *out, void *parameters, unsigned int flags, CUdevice device) {
  ENTER();
  (void)parameters;
  return create(out, flags, device, 12050);
}

static CUresult destroy(CUcontext handle) {
  CUresult result = CUDA_ERROR_INVALID_CONTEXT;
  pthread_mutex_lock(&fake_lock);
  struct context *context = context_of(handle);
  if (context && !context->primary) {
    stop(context);
    result = CUDA_SUCCESS;
  }
  pthread_mutex_unlock(&fake_lock);
  if (!result && fake_thread.current == context) pop();
  return result;
}
API CUresult cuCtxDestroy(CUcontext handle) {
  ENTER();
  return destroy(handle);
}
API CUresult cuCtxDestroy_v2(CUcontext handle) {
  ENTER();
  return destroy(handle);
}
API CUresult cuCtxDetach(CUcontext handle) {
  ENTER();
  return destroy(handle);
}

API CUresult cuDevicePrimaryCtxRetain(CUcontext *out, CUdevice device) {
  ENTER();
  if (!out) return CUDA_ERROR_INVALID_VALUE;
  if (device < 0 || device >= knobs.devices) return CUDA_ERROR_INVALID_DEVICE;
  CUresult result = CUDA_SUCCESS;
  pthread_mutex_lock(&fake_lock);
  struct context *context = &primary[device];
  context->primary = 1;
  if (!atomic_load(&context->alive)) {
    result = start(context, device, context->flags);
    context->refs = 0;
  }
  if (!result) {
    context->refs++;
    *out = handle_of(context);
  }
  pthread_mutex_unlock(&fake_lock);
  return result;
}

static CUresult leave_primary(CUdevice device, bool reset) {
  if (device < 0 || device >= knobs.devices) return CUDA_ERROR_INVALID_DEVICE;
  CUresult result = CUDA_SUCCESS;
  pthread_mutex_lock(&fake_lock);
  struct context *context = &primary[device];
  bool alive = atomic_load(&context->alive);
  if (alive && (reset || --context->refs == 0)) stop(context);
  else if (!alive && !reset) result = CUDA_ERROR_INVALID_CONTEXT;
  if (alive && reset) {
    /* It stays retained: the next use brings it up again. */
    int refs = context->refs;
    result = start(context, device, context->flags);
    context->refs = refs;
  }
  pthread_mutex_unlock(&fake_lock);
  return result;
}
API CUresult cuDevicePrimaryCtxRelease(CUdevice device) {
  ENTER();
  return leave_primary(device, false);
}
API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
  ENTER();
  return leave_primary(device, false);
}
API CUresult cuDevicePrimaryCtxReset(CUdevice device) {
  ENTER();
  return leave_primary(device, true);
}
API CUresult cuDevicePrimaryCtxReset_v2(CUdevice device) {
  ENTER();
  return leave_primary(device, true);
}

static CUresult set_flags(CUdevice device, unsigned flags) {
  if (device < 0 || device >= knobs.devices) return CUDA_ERROR_INVALID_DEVICE;
  LOCKED(primary[device].flags = flags);
  return CUDA_SUCCESS;
}
API CUresult cuDevicePrimaryCtxSetFlags(CUdevice device, unsigned int flags) {
  ENTER();
  return set_flags(device, flags);
}
API CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned int flags) {
  ENTER();
  return set_flags(device, flags);
}
API CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned int *flags, int *active) {
  ENTER();
  if (device < 0 || device >= knobs.devices) return CUDA_ERROR_INVALID_DEVICE;
  if (flags) *flags = primary[device].flags;
  if (active) *active = atomic_load(&primary[device].alive);
  return CUDA_SUCCESS;
}

static CUresult push_current(CUcontext handle) {
  struct context *context = context_of(handle);
  return context ? push(context) : CUDA_ERROR_INVALID_CONTEXT;
}
API CUresult cuCtxPushCurrent(CUcontext handle) {
  ENTER();
  return push_current(handle);
}
API CUresult cuCtxPushCurrent_v2(CUcontext handle) {
  ENTER();
  return push_current(handle);
}
static CUresult pop_current(CUcontext *out) {
  if (!fake_thread.current) return CUDA_ERROR_INVALID_CONTEXT;
  if (out) *out = handle_of(fake_thread.current);
  pop();
  return CUDA_SUCCESS;
}
API CUresult cuCtxPopCurrent(CUcontext *out) {
  ENTER();
  return pop_current(out);
}
API CUresult cuCtxPopCurrent_v2(CUcontext *out) {
  ENTER();
  return pop_current(out);
}
API CUresult cuCtxSetCurrent(CUcontext handle) {
  ENTER();
  if (!handle) {
    pop();
    return CUDA_SUCCESS;
  }
  struct context *context = context_of(handle);
  if (!context) return CUDA_ERROR_INVALID_CONTEXT;
  fake_thread.current = context;
  return CUDA_SUCCESS;
}
API CUresult cuCtxGetCurrent(CUcontext *out) {
  ENTER();
  if (!out) return CUDA_ERROR_INVALID_VALUE;
  *out = handle_of(fake_thread.current);
  return CUDA_SUCCESS;
}
API CUresult cuCtxGetDevice(CUdevice *out) {
  ENTER();
  CURRENT(context);
  if (!out) return CUDA_ERROR_INVALID_VALUE;
  *out = context->device;
  return CUDA_SUCCESS;
}
API CUresult cuCtxGetDevice_v2(CUdevice *out, CUcontext handle) {
  ENTER();
  if (!handle) return cuCtxGetDevice(out);
  struct context *context = context_of(handle);
  if (!context || !out) return CUDA_ERROR_INVALID_CONTEXT;
  *out = context->device;
  return CUDA_SUCCESS;
}
API CUresult cuCtxGetFlags(unsigned int *flags) {
  ENTER();
  CURRENT(context);
  if (!flags) return CUDA_ERROR_INVALID_VALUE;
  *flags = context->flags;
  return CUDA_SUCCESS;
}
API CUresult cuCtxGetApiVersion(CUcontext handle, unsigned int *version) {
  ENTER();
  struct context *context = handle ? context_of(handle) : fake_thread.current;
  if (!context || !version) return CUDA_ERROR_INVALID_CONTEXT;
  *version = context->api ? context->api : 3020;
  return CUDA_SUCCESS;
}
API CUresult cuCtxSynchronize(void) {
  ENTER();
  CURRENT(context);
  LOCKED(pools_settle(context->device));
  return CUDA_SUCCESS;
}
API CUresult cuCtxSynchronize_v2(CUcontext handle) {
  ENTER();
  if (!handle) return cuCtxSynchronize();
  struct context *context = context_of(handle);
  if (!context) return CUDA_ERROR_INVALID_CONTEXT;
  LOCKED(pools_settle(context->device));
  return CUDA_SUCCESS;
}
API CUresult cuCtxSetLimit(int limit, size_t value) {
  ENTER();
  (void)limit, (void)value;
  CURRENT(context);
  (void)context;
  return CUDA_SUCCESS;
}

/* ---- green contexts: a share of the primary context's processors, no memory of their own ---- */
struct green {
  int device;
  struct context *context;
};
API CUresult cuGreenCtxCreate(CUgreenCtx *out, void *description, CUdevice device, unsigned int flags) {
  ENTER();
  (void)description, (void)flags;
  if (!out) return CUDA_ERROR_INVALID_VALUE;
  if (device < 0 || device >= knobs.devices) return CUDA_ERROR_INVALID_DEVICE;
  struct green *green = calloc(1, sizeof *green);
  if (!green) return CUDA_ERROR_OUT_OF_MEMORY;
  green->device = device;
  LOCKED(*out = (CUgreenCtx)(uintptr_t)object_new(OBJECT_GREEN, green));
  return CUDA_SUCCESS;
}
API CUresult cuCtxFromGreenCtx(CUcontext *out, CUgreenCtx handle) {
  ENTER();
  struct green *green;
  LOCKED(green = object_get((uintptr_t)handle, OBJECT_GREEN));
  if (!out || !green) return CUDA_ERROR_INVALID_VALUE;
  if (green->context) {
    *out = handle_of(green->context);
    return CUDA_SUCCESS;
  }
  CUresult result = create(out, 0, green->device, 12040);
  if (result) return result;
  pop();
  green->context = context_of(*out);
  return CUDA_SUCCESS;
}
API CUresult cuGreenCtxDestroy(CUgreenCtx handle) {
  ENTER();
  pthread_mutex_lock(&fake_lock);
  struct green *green = object_get((uintptr_t)handle, OBJECT_GREEN);
  if (green) object_drop((uintptr_t)handle);
  if (green && green->context && atomic_load(&green->context->alive)) stop(green->context);
  pthread_mutex_unlock(&fake_lock);
  free(green);
  return green ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
