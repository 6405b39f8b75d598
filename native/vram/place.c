// SPDX-License-Identifier: Apache-2.0
// Which GPU and which context a call is about.
#include "hooks.h"

#define UUID_BYTES 16
#define ATTRIBUTE_CONTEXT 1 // CU_POINTER_ATTRIBUTE_CONTEXT

struct hook_state vram_state;

uint32_t vram_state_unwiped;

void hook_state_prepare(void) {
  if (sys_madvise(&vram_state, sizeof vram_state, MADV_WIPEONFORK_) == 0) return;
  store_relaxed(&vram_state.pid, sys_getpid());
  store_release(&vram_state_unwiped, 1U);
}

// A child forgets its parent's contexts, pools and locks; the first thread that notices does it, others wait for it.
void hook_state_check(void) {
  const uint32_t forgetting = UINT32_MAX;
  uint32_t pid = sys_getpid(), owner;
  while ((owner = load_acquire(&vram_state.pid)) != pid) {
    if (owner == forgetting || !compare_swap(&vram_state.pid, &owner, forgetting)) {
      sys1(SYS_sched_yield, 0);
      continue;
    }
    size_t from = offsetof(struct hook_state, pid) + sizeof pid;
    memset(&vram_state, 0, offsetof(struct hook_state, pid));
    memset((char *)&vram_state + from, 0, sizeof vram_state - from);
    store_release(&vram_state.pid, pid);
  }
}

int device_count(void) {
  struct hook_state *s = hook_state();
  int32_t known = load_relaxed(&s->count);
  if (LIKELY(known != 0)) return known - 1;
  int count = 0;
  if (DRIVER(cuDeviceGetCount, int *)(&count) != CUDA_SUCCESS) return 0;
  store_relaxed(&s->count, count + 1);
  return count;
}

static int ask_device(CUdevice ordinal) {
  uint8_t uuid[UUID_BYTES] = {0};
  uint32_t get = driver_has(I_cuDeviceGetUuid_v2) ? I_cuDeviceGetUuid_v2 : I_cuDeviceGetUuid; // v2 knows MIG instances
  CUresult result = ((CUresult(*)(uint8_t *, CUdevice))driver_entry(get))(uuid, ordinal);
  return ledger_device(result == CUDA_SUCCESS ? uuid : NULL, ordinal);
}

int device_index(CUdevice ordinal) {
  if (ordinal < 0 || ordinal >= (int)MAX_DEVICES) return LEDGER_UNLISTED;
  struct hook_state *s = hook_state();
  int32_t known = load_relaxed(&s->devices[ordinal]);
  if (LIKELY(known != 0)) return known - 3;
  if (ordinal >= device_count()) return LEDGER_UNLISTED;
  int index = ask_device(ordinal);
  // The session could not be looked for, or the card in it (no descriptor or memory was left): denied now, asked again at the next call.
  if (index == LEDGER_LATER || (index == LEDGER_UNLISTED && load_acquire(&ledger_mode) == 0)) return LEDGER_UNLISTED;
  store_relaxed(&s->devices[ordinal], index + 3);
  return index;
}

static uint32_t context_row_of(uint64_t context) { return (uint32_t)((context * UINT64_C(0x9e3779b97f4a7c15)) >> 56) % MAX_CONTEXTS; }

static uint64_t new_owner(struct hook_state *s) { return (uint64_t)fetch_add(&s->next_owner, 1U) + 1; }

// Rows are found by linear probing and never move; a forgotten context leaves a row with owner 0 that is used again for the next.
static struct context_row *find_context(struct hook_state *s, uint64_t context) {
  uint32_t start = context_row_of(context);
  for (uint32_t i = 0; i < MAX_CONTEXTS; i++) {
    struct context_row *row = &s->contexts[(start + i) % MAX_CONTEXTS];
    uint64_t there = load_acquire(&row->context);
    if (LIKELY(there == context)) return row;
    if (there == 0) return NULL;
  }
  return NULL;
}

static struct context_row *add_context(struct hook_state *s, uint64_t context, CUdevice ordinal, uint64_t owner) {
  gate_lock(&s->contexts_lock);
  struct context_row *row = find_context(s, context), *spare = NULL;
  uint32_t start = context_row_of(context);
  for (uint32_t i = 0; row == NULL && i < MAX_CONTEXTS; i++) {
    struct context_row *other = &s->contexts[(start + i) % MAX_CONTEXTS];
    if (spare == NULL && (other->context == 0 || other->owner == 0)) spare = other;
    if (other->context == 0) break;
  }
  if (row == NULL) row = spare;
  if (row != NULL) {
    store_relaxed(&row->owner, owner);
    store_relaxed(&row->ordinal, ordinal); // -1: not asked
    store_release(&row->context, context);
  }
  gate_unlock(&s->contexts_lock);
  return row;
}

static int learn(struct hook_state *s, uint64_t context, struct whose *out) {
  CUdevice ordinal = -1;
  if (DRIVER(cuCtxGetDevice, CUdevice *)(&ordinal) != CUDA_SUCCESS) return 0;
  struct context_row *row = find_context(s, context);
  uint64_t owner = row == NULL ? 0 : load_relaxed(&row->owner);
  // The same address on another device: the context that was there ended where nobody told us.
  if (owner == 0 || (row->ordinal >= 0 && row->ordinal != ordinal)) owner = new_owner(s);
  // A full table: 0, so that these charges last until each is freed.
  if (add_context(s, context, ordinal, owner) == NULL) owner = 0;
  *out = (struct whose){device_index(ordinal), ordinal, owner};
  return 1;
}

int place_current(struct whose *out) {
  struct hook_state *s = hook_state();
  CUcontext current = NULL;
  if (UNLIKELY(DRIVER(cuCtxGetCurrent, CUcontext *)(&current) != CUDA_SUCCESS || current == NULL)) return 0;
  struct context_row *row = find_context(s, (uint64_t)current);
  uint64_t owner;
  if (UNLIKELY(row == NULL || (owner = load_relaxed(&row->owner)) == 0)) return learn(s, (uint64_t)current, out);
  CUdevice ordinal = load_relaxed(&row->ordinal);
  if (UNLIKELY(ordinal < 0)) return learn(s, (uint64_t)current, out);
  if (UNLIKELY(device_count() > 1)) {
    CUdevice now = -1;
    if (DRIVER(cuCtxGetDevice, CUdevice *)(&now) == CUDA_SUCCESS && now != ordinal) return learn(s, (uint64_t)current, out);
  }
  *out = (struct whose){device_index(ordinal), ordinal, owner};
  return 1;
}

// Which context an address lies in the driver knows; a context that is about to end takes its own.
static void adopt(CUcontext context, uint64_t owner) {
  for (uint32_t part = 0; part < MAP_PARTS; part++) {
    uint32_t count = map_list(part, KIND_LINEAR, 0, NULL, 0);
    size_t size = (size_t)count * sizeof(uint64_t);
    uint64_t *keys = count == 0 ? NULL : sys_mmap(size, PROT_READ_ | PROT_WRITE_, MAP_PRIVATE_ | MAP_ANONYMOUS_, -1);
    if (keys == NULL) continue;
    uint32_t listed = map_list(part, KIND_LINEAR, 0, keys, count);
    for (uint32_t i = 0; i < listed && i < count; i++) {
      CUcontext in = NULL;
      CUresult result = DRIVER(cuPointerGetAttribute, void *, int, CUdeviceptr)(&in, ATTRIBUTE_CONTEXT, keys[i]);
      if (result == CUDA_SUCCESS && in == context) map_own(keys[i], KIND_LINEAR, 0, owner);
    }
    sys_munmap(keys, size);
  }
}

uint64_t context_forget(CUcontext context) {
  struct hook_state *s = hook_state();
  struct context_row *row = find_context(s, (uint64_t)context);
  uint64_t owner = row == NULL ? 0 : load_relaxed(&row->owner);
  if (owner == 0) owner = new_owner(s);
  adopt(context, owner);
  gate_lock(&s->contexts_lock);
  row = find_context(s, (uint64_t)context);
  if (row != NULL) store_release(&row->owner, (uint64_t)0);
  gate_unlock(&s->contexts_lock);
  return owner;
}

void context_restore(CUcontext context, uint64_t owner) { add_context(hook_state(), (uint64_t)context, -1, owner); }

int reserve(int device, uint64_t bytes) {
  if (UNLIKELY(device == LEDGER_FREE)) return 0;
  if (LIKELY(!pools_known())) return ledger_reserve(device, bytes);
  if (ledger_try(device, bytes) == 0) return 0;
  pools_settle();
  if (ledger_try(device, bytes) == 0) return 0;
  pools_shrink(device, bytes);
  return ledger_reserve(device, bytes);
}

CUresult charge_begin_at(struct charge *c, const struct whose *place, uint64_t bytes) {
  *c = (struct charge){*place, bytes, 1};
  return LIKELY(reserve(place->device, bytes) == 0) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult charge_begin(struct charge *c, uint64_t bytes) {
  struct whose place;
  if (LIKELY(place_current(&place))) return charge_begin_at(c, &place, bytes);
  *c = (struct charge){.bytes = bytes};
  return CUDA_SUCCESS; // without a context the real call fails; charge_end() sees to one that does not
}

CUresult charge_end(struct charge *c, CUresult result, uint64_t key, int kind, void (*undo)(uint64_t key)) {
  if (UNLIKELY(result != CUDA_SUCCESS)) {
    if (c->known) release(c->place.device, c->bytes);
    return result;
  }
  if (UNLIKELY(!c->known)) {
    if (!place_current(&c->place) || reserve(c->place.device, c->bytes) != 0) {
      undo(key);
      return CUDA_ERROR_OUT_OF_MEMORY;
    }
  }
  int device = c->place.device < 0 ? -1 : c->place.device;
  if (LIKELY(map_insert_owned(key, kind, device, c->bytes, c->place.owner) == 0)) return CUDA_SUCCESS;
  undo(key);
  release(c->place.device, c->bytes);
  return CUDA_ERROR_OUT_OF_MEMORY;
}
