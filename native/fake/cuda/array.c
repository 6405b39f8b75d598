// SPDX-License-Identifier: Apache-2.0
// Arrays and mipmapped arrays. Sparse and deferred ones cost nothing until memory is mapped to them.
#include "fake.h"

#include <stdlib.h>

enum { MAX_LEVELS = 32 };
struct array {
  CUDA_ARRAY3D_DESCRIPTOR shape;
  struct context *context;
  uint64_t charged;
  unsigned levels;
  uint64_t level[MAX_LEVELS]; /* handles of a mipmap's levels, made when asked for */
  bool inner;                 /* such a level: not the program's to destroy */
};

/* Bytes of an element's component; 0: no format that this fake knows. Block-compressed ones tell bytes of a block of 4 x 4. */
static uint64_t format_bytes(unsigned format, bool *blocks, unsigned *channels) {
  static const struct {
    unsigned format, channels, bytes;
    bool blocks;
  } formats[] = {
      {0x01, 0, 1, 0}, {0x02, 0, 2, 0}, {0x03, 0, 4, 0}, {0x08, 0, 1, 0}, {0x09, 0, 2, 0}, {0x0a, 0, 4, 0}, {0x10, 0, 2, 0},
      {0x20, 0, 4, 0}, {0xc0, 1, 1, 0}, {0xc1, 2, 1, 0}, {0xc2, 4, 1, 0}, {0xc3, 1, 2, 0}, {0xc4, 2, 2, 0}, {0xc5, 4, 2, 0},
      {0xc6, 1, 1, 0}, {0xc7, 2, 1, 0}, {0xc8, 4, 1, 0}, {0xc9, 1, 2, 0}, {0xca, 2, 2, 0}, {0xcb, 4, 2, 0}, {0x50, 1, 4, 0},
      {0x91, 1, 8, 1}, {0x92, 1, 8, 1}, {0x93, 1, 16, 1}, {0x94, 1, 16, 1}, {0x95, 1, 16, 1}, {0x96, 1, 16, 1}, {0x97, 1, 8, 1},
      {0x98, 1, 8, 1}, {0x99, 1, 16, 1}, {0x9a, 1, 16, 1}, {0x9b, 1, 16, 1}, {0x9c, 1, 16, 1}, {0x9d, 1, 16, 1}, {0x9e, 1, 16, 1},
  };
  for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
    if (formats[i].format != format) continue;
    if (formats[i].channels) *channels = formats[i].channels;
    *blocks = formats[i].blocks;
    return formats[i].bytes;
  }
  /* NV12 and P010/P016: a plane of full size and one of half. Told here as 3 bytes per 2 elements by the caller. */
  return 0;
}

static uint64_t at_least_1(uint64_t n) { return n ? n : 1; }

uint64_t array_bytes(const CUDA_ARRAY3D_DESCRIPTOR *shape) {
  bool blocks = false;
  unsigned channels = shape->NumChannels;
  uint64_t bytes = format_bytes(shape->Format, &blocks, &channels);
  uint64_t width = shape->Width, height = at_least_1(shape->Height), depth = at_least_1(shape->Depth);
  if (shape->Format == 0xb0 || shape->Format == 0x9f || shape->Format == 0xa1) {
    uint64_t plane = times(times(width, height), shape->Format == 0xb0 ? 1 : 2);
    return times(plane + plane / 2, depth);
  }
  if (!bytes || (channels != 1 && channels != 2 && channels != 4)) return 0;
  if (blocks) width = round_up(width, 4) / 4, height = round_up(height, 4) / 4;
  return times(times(times(width, height), depth), times(bytes, channels));
}

static uint64_t mipmap_bytes(const CUDA_ARRAY3D_DESCRIPTOR *shape, unsigned levels) {
  CUDA_ARRAY3D_DESCRIPTOR level = *shape;
  uint64_t sum = 0;
  for (unsigned i = 0; i < levels; i++) {
    uint64_t bytes = array_bytes(&level);
    if (__builtin_add_overflow(sum, bytes, &sum)) return UINT64_MAX;
    level.Width = level.Width > 1 ? level.Width / 2 : level.Width;
    level.Height = level.Height > 1 ? level.Height / 2 : level.Height;
    if (!(shape->Flags & (CUDA_ARRAY3D_LAYERED | CUDA_ARRAY3D_CUBEMAP))) level.Depth = level.Depth > 1 ? level.Depth / 2 : level.Depth;
  }
  return sum;
}

static CUresult create(uint64_t *out, const CUDA_ARRAY3D_DESCRIPTOR *shape, unsigned levels, enum object_kind kind) {
  CURRENT(context);
  if (!out || !shape->Width || !array_bytes(shape)) return CUDA_ERROR_INVALID_VALUE;
  bool lazy = shape->Flags & (CUDA_ARRAY3D_SPARSE | CUDA_ARRAY3D_DEFERRED_MAPPING);
  uint64_t bytes = lazy ? 0 : mipmap_bytes(shape, levels), charged = bytes > knobs.grain / 2 ? card_bytes(bytes) : bytes;
  struct array *array = calloc(1, sizeof *array);
  if (!array || (charged && !card_take(context->device, charged))) {
    free(array);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  array->shape = *shape;
  array->context = context;
  array->charged = charged;
  array->levels = levels;
  LOCKED(*out = object_new(kind, array));
  return CUDA_SUCCESS;
}

/* The lock is held. */
static void end(uint64_t handle, struct array *array) {
  for (unsigned i = 0; i < MAX_LEVELS; i++) {
    if (!array->level[i]) continue;
    free(object_get(array->level[i], OBJECT_ARRAY));
    object_drop(array->level[i]);
  }
  if (!array->inner) card_give(array->context->device, array->charged);
  object_drop(handle);
  free(array);
}

void arrays_end_all(const struct context *context) {
  uint64_t handle;
  struct array *array;
  for (uint32_t at = 0; (array = object_next(OBJECT_MIPMAP, &at, &handle));)
    if (array->context == context) end(handle, array);
  for (uint32_t at = 0; (array = object_next(OBJECT_ARRAY, &at, &handle));)
    if (array->context == context && !array->inner) end(handle, array);
}

static CUresult destroy(uint64_t handle, enum object_kind kind) {
  CUresult result = CUDA_ERROR_INVALID_HANDLE;
  pthread_mutex_lock(&fake_lock);
  struct array *array = object_get(handle, kind);
  if (array && !array->inner) {
    end(handle, array);
    result = CUDA_SUCCESS;
  }
  pthread_mutex_unlock(&fake_lock);
  return result;
}

API CUresult cuArrayCreate_v2(uint64_t *out, const CUDA_ARRAY_DESCRIPTOR *a) {
  ENTER();
  if (!a) return CUDA_ERROR_INVALID_VALUE;
  CUDA_ARRAY3D_DESCRIPTOR shape = {a->Width, a->Height, 0, a->Format, a->NumChannels, 0};
  return create(out, &shape, 1, OBJECT_ARRAY);
}
API CUresult cuArrayCreate(uint64_t *out, const CUDA_ARRAY_DESCRIPTOR_v1 *a) {
  ENTER();
  if (!a) return CUDA_ERROR_INVALID_VALUE;
  CUDA_ARRAY3D_DESCRIPTOR shape = {a->Width, a->Height, 0, a->Format, a->NumChannels, 0};
  return create(out, &shape, 1, OBJECT_ARRAY);
}
API CUresult cuArray3DCreate_v2(uint64_t *out, const CUDA_ARRAY3D_DESCRIPTOR *a) {
  ENTER();
  return a ? create(out, a, 1, OBJECT_ARRAY) : CUDA_ERROR_INVALID_VALUE;
}
API CUresult cuArray3DCreate(uint64_t *out, const CUDA_ARRAY3D_DESCRIPTOR_v1 *a) {
  ENTER();
  if (!a) return CUDA_ERROR_INVALID_VALUE;
  CUDA_ARRAY3D_DESCRIPTOR shape = {a->Width, a->Height, a->Depth, a->Format, a->NumChannels, a->Flags};
  return create(out, &shape, 1, OBJECT_ARRAY);
}
API CUresult cuArrayDestroy(uint64_t handle) {
  ENTER();
  return destroy(handle, OBJECT_ARRAY);
}
API CUresult cuMipmappedArrayCreate(uint64_t *out, const CUDA_ARRAY3D_DESCRIPTOR *a, unsigned int levels) {
  ENTER();
  if (!a || !levels || levels > MAX_LEVELS) return CUDA_ERROR_INVALID_VALUE;
  uint64_t widest = a->Width > a->Height ? a->Width : a->Height;
  if (!(a->Flags & (CUDA_ARRAY3D_LAYERED | CUDA_ARRAY3D_CUBEMAP)) && a->Depth > widest) widest = a->Depth;
  unsigned most = 1;
  while (widest >>= 1) most++;
  return create(out, a, levels < most ? levels : most, OBJECT_MIPMAP);
}
API CUresult cuMipmappedArrayDestroy(uint64_t handle) {
  ENTER();
  return destroy(handle, OBJECT_MIPMAP);
}
API CUresult cuMipmappedArrayGetLevel(uint64_t *out, uint64_t handle, unsigned int level) {
  ENTER();
  CUresult result = CUDA_ERROR_INVALID_VALUE;
  pthread_mutex_lock(&fake_lock);
  struct array *array = object_get(handle, OBJECT_MIPMAP);
  if (out && array && level < array->levels) {
    if (!array->level[level]) {
      struct array *inner = calloc(1, sizeof *inner);
      if (inner) {
        inner->shape = array->shape;
        inner->shape.Width = at_least_1(array->shape.Width >> level);
        inner->context = array->context;
        inner->inner = true;
        array->level[level] = object_new(OBJECT_ARRAY, inner);
      }
    }
    *out = array->level[level];
    result = *out ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
  }
  pthread_mutex_unlock(&fake_lock);
  return result;
}
API CUresult cuArray3DGetDescriptor_v2(CUDA_ARRAY3D_DESCRIPTOR *out, uint64_t handle) {
  ENTER();
  struct array *array;
  LOCKED(array = object_get(handle, OBJECT_ARRAY); if (array && out) *out = array->shape);
  return !array ? CUDA_ERROR_INVALID_HANDLE : out ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
API CUresult cuArrayGetDescriptor_v2(CUDA_ARRAY_DESCRIPTOR *out, uint64_t handle) {
  ENTER();
  CUDA_ARRAY3D_DESCRIPTOR shape;
  CUresult result = cuArray3DGetDescriptor_v2(&shape, handle);
  if (!result && out) *out = (CUDA_ARRAY_DESCRIPTOR){shape.Width, shape.Height, shape.Format, shape.NumChannels};
  return result;
}
static CUresult requirements(CUDA_ARRAY_MEMORY_REQUIREMENTS *out, uint64_t handle, enum object_kind kind) {
  CUresult result = CUDA_ERROR_INVALID_HANDLE;
  pthread_mutex_lock(&fake_lock);
  struct array *array = object_get(handle, kind);
  if (array) result = out && array->shape.Flags & CUDA_ARRAY3D_DEFERRED_MAPPING ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  if (!result) {
    *out = (CUDA_ARRAY_MEMORY_REQUIREMENTS){.alignment = 65536};
    out->size = (size_t)round_up(mipmap_bytes(&array->shape, array->levels), 65536);
  }
  pthread_mutex_unlock(&fake_lock);
  return result;
}
API CUresult cuArrayGetMemoryRequirements(CUDA_ARRAY_MEMORY_REQUIREMENTS *out, uint64_t handle, CUdevice device) {
  ENTER();
  (void)device;
  return requirements(out, handle, OBJECT_ARRAY);
}
API CUresult cuMipmappedArrayGetMemoryRequirements(CUDA_ARRAY_MEMORY_REQUIREMENTS *out, uint64_t handle, CUdevice device) {
  ENTER();
  (void)device;
  return requirements(out, handle, OBJECT_MIPMAP);
}
