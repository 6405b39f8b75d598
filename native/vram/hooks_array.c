// SPDX-License-Identifier: Apache-2.0
// Arrays and mipmapped arrays. The driver tells their size for no ordinary array, so it is computed from the shape; padding that a driver adds
// to an opaque layout is not seen.
#include "hooks.h"

#define LAYERED 0x01U
#define CUBEMAP 0x04U
#define SPARSE 0x40U
#define DEFERRED_MAPPING 0x80U

struct shape { // CUDA_ARRAY3D_DESCRIPTOR
  size_t width, height, depth;
  unsigned format, channels, flags;
};
struct shape_v1 {
  unsigned width, height, depth, format, channels, flags;
};
struct flat_shape { // CUDA_ARRAY_DESCRIPTOR
  size_t width, height;
  unsigned format, channels;
};
struct flat_shape_v1 {
  unsigned width, height, format, channels;
};

CUresult hook_cuArrayCreate(CUarray *array, const struct flat_shape_v1 *shape);
CUresult hook_cuArrayCreate_v2(CUarray *array, const struct flat_shape *shape);
CUresult hook_cuArray3DCreate(CUarray *array, const struct shape_v1 *shape);
CUresult hook_cuArray3DCreate_v2(CUarray *array, const struct shape *shape);
CUresult hook_cuArrayDestroy(CUarray array);
CUresult hook_cuMipmappedArrayCreate(CUarray *array, const struct shape *shape, unsigned levels);
CUresult hook_cuMipmappedArrayDestroy(CUarray array);

// Formats by value (CUarray_format). `eighths`: bits of one element of one channel, in eighths of a byte per pixel for formats that carry
// their channels in their name (fixed); `block`: side of a compressed block, whose bytes stand in `bytes`.
struct format {
  uint8_t value, fixed, block;
  uint8_t bits; // per channel, or per pixel where fixed, or bytes of a block where compressed
};
static const struct format FORMATS[] = {
    // integers, halves, floats
    {0x01, 0, 0, 8}, {0x02, 0, 0, 16}, {0x03, 0, 0, 32}, {0x08, 0, 0, 8}, {0x09, 0, 0, 16}, {0x0a, 0, 0, 32}, {0x10, 0, 0, 16}, {0x20, 0, 0, 32},
    // normalised, channels in the name
    {0xc0, 1, 0, 8}, {0xc1, 1, 0, 16}, {0xc2, 1, 0, 32}, {0xc3, 1, 0, 16}, {0xc4, 1, 0, 32}, {0xc5, 1, 0, 64},
    {0xc6, 1, 0, 8}, {0xc7, 1, 0, 16}, {0xc8, 1, 0, 32}, {0xc9, 1, 0, 16}, {0xca, 1, 0, 32}, {0xcb, 1, 0, 64},
    // block-compressed, BC1 to BC7
    {0x91, 1, 4, 8}, {0x92, 1, 4, 8}, {0x93, 1, 4, 16}, {0x94, 1, 4, 16}, {0x95, 1, 4, 16}, {0x96, 1, 4, 16}, {0x97, 1, 4, 8},
    {0x98, 1, 4, 8}, {0x99, 1, 4, 16}, {0x9a, 1, 4, 16}, {0x9b, 1, 4, 16}, {0x9c, 1, 4, 16}, {0x9d, 1, 4, 16}, {0x9e, 1, 4, 16},
    // video 4:2:0 (NV12, P010, P016 and the newer names), 4:2:2, 4:4:4; packed
    {0xb0, 1, 0, 12}, {0x9f, 1, 0, 24}, {0xa1, 1, 0, 24}, {0x53, 1, 0, 12}, {0x54, 1, 0, 24}, {0x59, 1, 0, 12}, {0x5a, 1, 0, 24},
    {0xa2, 1, 0, 16}, {0xa3, 1, 0, 32}, {0xa4, 1, 0, 32}, {0xa5, 1, 0, 16}, {0xa6, 1, 0, 32}, {0xa7, 1, 0, 32}, {0x51, 1, 0, 16},
    {0x55, 1, 0, 16}, {0x56, 1, 0, 32}, {0x5b, 1, 0, 16}, {0x5c, 1, 0, 32},
    {0xa8, 1, 0, 32}, {0xa9, 1, 0, 32}, {0xb1, 1, 0, 64}, {0xb2, 1, 0, 24}, {0xb3, 1, 0, 48}, {0xb4, 1, 0, 24}, {0xb5, 1, 0, 48},
    {0x52, 1, 0, 32}, {0x57, 1, 0, 24}, {0x58, 1, 0, 48}, {0x5d, 1, 0, 24}, {0x5e, 1, 0, 48}, {0x50, 1, 0, 32},
};
// A format that came after this release: the widest element there is, so that too much is charged, not too little.
static const struct format UNKNOWN = {0, 0, 0, 32};

static const struct format *format_of(unsigned value) {
  for (size_t i = 0; i < sizeof FORMATS / sizeof *FORMATS; i++) {
    if (FORMATS[i].value == value) return &FORMATS[i];
  }
  return &UNKNOWN;
}

static uint64_t at_least_1(uint64_t n) { return n == 0 ? 1 : n; }

static uint64_t level_bytes(const struct shape *s) {
  const struct format *f = format_of(s->format);
  uint64_t width = s->width, height = at_least_1(s->height), depth = at_least_1(s->depth);
  if (f->block != 0) {
    uint64_t blocks = product(sum(width, f->block - 1U) / f->block, sum(height, f->block - 1U) / f->block);
    return product(product(blocks, depth), f->bits);
  }
  uint64_t bits = f->fixed ? f->bits : product(f->bits, at_least_1(s->channels));
  uint64_t pixels = product(width, height);
  // Planes of half size: bits of one pixel are no whole bytes, those of one image are.
  uint64_t image = bits % 8 == 0 ? product(pixels, bits / 8) : product(pixels, bits) == UINT64_MAX ? UINT64_MAX : product(pixels, bits) / 8;
  return product(image, depth);
}

// Sparse arrays get their memory from cuMemCreate; deferred ones as well.
static uint64_t array_bytes(const struct shape *shape, unsigned levels) {
  struct shape level = *shape;
  uint64_t total = 0;
  if ((shape->flags & (SPARSE | DEFERRED_MAPPING)) != 0) return 0;
  for (unsigned i = 0; i < levels; i++) {
    total = sum(total, level_bytes(&level));
    if (level.width <= 1 && level.height <= 1 && ((shape->flags & (LAYERED | CUBEMAP)) != 0 || level.depth <= 1)) break;
    level.width = level.width > 1 ? level.width / 2 : level.width;
    level.height = level.height > 1 ? level.height / 2 : level.height;
    if ((shape->flags & (LAYERED | CUBEMAP)) == 0) level.depth = level.depth > 1 ? level.depth / 2 : level.depth;
  }
  // Small ones are charged as computed, large ones by the pages that they take.
  return total > SHARED_MAX ? card_bytes(total) : total;
}

static void undo(uint64_t array) { NEXT(cuArrayDestroy)((CUarray)array); }
static void undo_mipmap(uint64_t array) { NEXT(cuMipmappedArrayDestroy)((CUarray)array); }

static CUresult finish(struct charge *c, CUresult result, CUarray *array, int kind) {
  return charge_end(c, result, result == CUDA_SUCCESS ? (uint64_t)*array : 0, kind, kind == KIND_ARRAY ? undo : undo_mipmap);
}

CUresult hook_cuArrayCreate_v2(CUarray *array, const struct flat_shape *shape) {
  if (!quota_active() || array == NULL || shape == NULL) return NEXT(cuArrayCreate_v2)(array, shape);
  struct shape s = {shape->width, shape->height, 0, shape->format, shape->channels, 0};
  struct charge c;
  if (charge_begin(&c, array_bytes(&s, 1)) != CUDA_SUCCESS) return CUDA_ERROR_OUT_OF_MEMORY;
  return finish(&c, NEXT(cuArrayCreate_v2)(array, shape), array, KIND_ARRAY);
}

CUresult hook_cuArrayCreate(CUarray *array, const struct flat_shape_v1 *shape) {
  if (!quota_active() || array == NULL || shape == NULL) return NEXT(cuArrayCreate)(array, shape);
  struct shape s = {shape->width, shape->height, 0, shape->format, shape->channels, 0};
  struct charge c;
  if (charge_begin(&c, array_bytes(&s, 1)) != CUDA_SUCCESS) return CUDA_ERROR_OUT_OF_MEMORY;
  return finish(&c, NEXT(cuArrayCreate)(array, shape), array, KIND_ARRAY);
}

CUresult hook_cuArray3DCreate_v2(CUarray *array, const struct shape *shape) {
  if (!quota_active() || array == NULL || shape == NULL) return NEXT(cuArray3DCreate_v2)(array, shape);
  struct charge c;
  if (charge_begin(&c, array_bytes(shape, 1)) != CUDA_SUCCESS) return CUDA_ERROR_OUT_OF_MEMORY;
  return finish(&c, NEXT(cuArray3DCreate_v2)(array, shape), array, KIND_ARRAY);
}

CUresult hook_cuArray3DCreate(CUarray *array, const struct shape_v1 *shape) {
  if (!quota_active() || array == NULL || shape == NULL) return NEXT(cuArray3DCreate)(array, shape);
  struct shape s = {shape->width, shape->height, shape->depth, shape->format, shape->channels, shape->flags};
  struct charge c;
  if (charge_begin(&c, array_bytes(&s, 1)) != CUDA_SUCCESS) return CUDA_ERROR_OUT_OF_MEMORY;
  return finish(&c, NEXT(cuArray3DCreate)(array, shape), array, KIND_ARRAY);
}

CUresult hook_cuMipmappedArrayCreate(CUarray *array, const struct shape *shape, unsigned levels) {
  if (!quota_active() || array == NULL || shape == NULL) return NEXT(cuMipmappedArrayCreate)(array, shape, levels);
  struct charge c;
  if (charge_begin(&c, array_bytes(shape, levels)) != CUDA_SUCCESS) return CUDA_ERROR_OUT_OF_MEMORY;
  return finish(&c, NEXT(cuMipmappedArrayCreate)(array, shape, levels), array, KIND_MIPMAP);
}

CUresult hook_cuArrayDestroy(CUarray array) {
  if (!quota_active()) return NEXT(cuArrayDestroy)(array);
  struct map_entry entry;
  int found = map_remove((uint64_t)array, KIND_ARRAY, &entry);
  return freed(NEXT(cuArrayDestroy)(array), found, &entry);
}

CUresult hook_cuMipmappedArrayDestroy(CUarray array) {
  if (!quota_active()) return NEXT(cuMipmappedArrayDestroy)(array);
  struct map_entry entry;
  int found = map_remove((uint64_t)array, KIND_MIPMAP, &entry);
  return freed(NEXT(cuMipmappedArrayDestroy)(array), found, &entry);
}
