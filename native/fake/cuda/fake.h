// SPDX-License-Identifier: Apache-2.0
// What the fake driver's files share. The card is a number of bytes per device; memory is taken from it and given back by the
// calls that do so on a real driver. Device addresses are numbers in a range of their own (nothing is mapped there until a copy,
// a memset or managed memory touches them).
#ifndef PENSTOCK_FAKE_CUDA_FAKE_H
#define PENSTOCK_FAKE_CUDA_FAKE_H
#include "api.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define API __attribute__((visibility("default")))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

enum { MAX_DEVICES = 16, DRIVER_VERSION = 13050 };

/* ---- state.c: knobs (FAKE_CUDA_*), read once by cuInit ---- */
struct knobs {
  int devices;
  uint64_t memory[MAX_DEVICES]; /* MEMORY: bytes, one number for all or a list */
  CUuuid uuid[MAX_DEVICES];     /* UUIDS: list of GPU-xxxxxxxx-... or 32 hex digits */
  int order[MAX_DEVICES];       /* CUDA_VISIBLE_DEVICES: which card is this ordinal */
  uint64_t context;             /* CONTEXT: bytes that a context costs */
  uint64_t grain;               /* GRAIN: pages of allocations of more than half of it (2 MiB; 1: as asked for) */
  uint64_t pitch;               /* PITCH: rows of cuMemAllocPitch are rounded up to it (512) */
  uint64_t pool_grain;          /* POOL_GRAIN: a pool grows by multiples of it (32 MiB) */
  unsigned arenas;              /* ARENAS: 1 makes all threads reuse one another's addresses at once (16) */
  unsigned latency_low, latency_high; /* LATENCY_US */
  int driver_version;           /* DRIVER: what cuDriverGetVersion says (13050) */
};
extern struct knobs knobs;

/* 0 when the driver is initialised and no trace, failure or latency is wanted: the fast path's only question. */
extern _Atomic unsigned fake_armed;
enum { ARMED_COLD = 1, ARMED_TRACE = 2, ARMED_FAIL = 4, ARMED_LATENCY = 8, ARMED_FORKED = 16, ARMED_STALL = 32 };
CUresult fake_enter_slow(const char *name, bool needs_init);
void fake_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define ENTER_AS(name)                                                                  \
  do {                                                                                  \
    if (unlikely(atomic_load_explicit(&fake_armed, memory_order_relaxed))) {            \
      CUresult entered_ = fake_enter_slow(name, true);                                  \
      if (entered_) return entered_;                                                    \
    }                                                                                   \
  } while (0)
#define ENTER() ENTER_AS(__func__)
/* Everything that is not a block of memory lies under one lock: those calls are rare. */
extern pthread_mutex_t fake_lock;
#define LOCKED(body)                  \
  do {                                \
    pthread_mutex_lock(&fake_lock);   \
    body;                             \
    pthread_mutex_unlock(&fake_lock); \
  } while (0)

/* ---- objects behind handles; a handle is used again at once when its object is gone, as pointers are ---- */
enum object_kind { OBJECT_NONE, OBJECT_STREAM, OBJECT_EVENT, OBJECT_ARRAY, OBJECT_MIPMAP, OBJECT_POOL, OBJECT_PHYSICAL,
  OBJECT_GRAPH, OBJECT_NODE, OBJECT_EXEC, OBJECT_EXTERNAL, OBJECT_GREEN, OBJECT_MODULE };
uint64_t object_new(enum object_kind kind, void *object);
void *object_get(uint64_t handle, enum object_kind kind); /* NULL: no such handle */
void object_drop(uint64_t handle);
/* Walks the objects of a kind: *at starts at 0; NULL at the end. */
void *object_next(enum object_kind kind, uint32_t *at, uint64_t *handle);

/* ---- card.c: physical memory ---- */
void card_init(void);
void card_forked(void);
bool card_take(int device, uint64_t bytes);
void card_give(int device, uint64_t bytes);
uint64_t card_free(int device);

/* ---- block.c: addresses ---- */
enum block_kind { BLOCK_FREE, BLOCK_LINEAR, BLOCK_MANAGED, BLOCK_POOL, BLOCK_RANGE, BLOCK_IPC, BLOCK_EXTERNAL, BLOCK_GRAPH };
struct context;
struct block {
  uint64_t size;    /* as asked for */
  uint64_t charged; /* of the device's memory */
  struct context *context;
  void *owner; /* pool, external memory, graph exec */
  uint32_t next;
  _Atomic uint8_t kind;
  uint8_t device, home, mapped;
  uint16_t opens;
};
void block_init(void);
CUdeviceptr block_new(struct context *context, int device, enum block_kind kind, uint64_t size, uint64_t charged, void *owner);
/* The live block that holds the address, with its base; NULL when none does. */
struct block *block_of(CUdeviceptr address, CUdeviceptr *base);
/* Ends a block exactly once: false when another thread was first. What it charged goes back to the card. */
bool block_end(CUdeviceptr base, struct block *block, enum block_kind kind);
void block_end_all(const struct context *context);
/* Host memory behind a block, brought when it is first needed. */
bool block_back(CUdeviceptr base, struct block *block);

/* ---- context.c ---- */
struct context {
  uint64_t handle;
  int device, primary, refs;
  _Atomic bool alive;
  unsigned flags, api;
  uint64_t cost;
};
struct thread {
  struct context *current;
  struct frame *below;
  unsigned arena; /* 0: none yet */
};
extern _Thread_local struct thread fake_thread __attribute__((tls_model("initial-exec")));
/* The thread's current context; NULL with *why set when there is none or it was destroyed. */
static inline struct context *context_current(CUresult *why) {
  struct context *context = fake_thread.current;
  if (likely(context && atomic_load_explicit(&context->alive, memory_order_relaxed))) return context;
  *why = context ? CUDA_ERROR_CONTEXT_IS_DESTROYED : CUDA_ERROR_INVALID_CONTEXT;
  return NULL;
}
#define CURRENT(context)                                          \
  CUresult why_ = CUDA_SUCCESS;                                   \
  struct context *context = context_current(&why_);               \
  if (unlikely(!context)) return why_
void context_ended(struct context *context); /* streams, arrays, pools' blocks of a context that goes */

/* ---- pool.c, graph.c, array.c, vmm.c ---- */
struct stream {
  struct context *context;
  struct graph *capturing;
  uint64_t capture_handle;
};
struct stream *stream_of(CUstream stream); /* NULL: no such stream */
void pools_settle(int device);             /* what a synchronisation does: back to the release threshold */
CUresult pool_free(CUdeviceptr base, struct block *block);
void pools_init(void);
CUresult graph_capture_alloc(struct graph *graph, int device, uint64_t bytes, CUdeviceptr *address);
CUresult graph_capture_free(struct graph *graph, CUdeviceptr address);
CUresult graph_free_now(CUdeviceptr base, struct block *block);
struct graph *graph_new(uint64_t *handle);
void arrays_end_all(const struct context *context);
uint64_t array_bytes(const CUDA_ARRAY3D_DESCRIPTOR *array);
uint64_t card_bytes(uint64_t bytes); /* what an allocation takes: whole pages, or a part of one that is shared */
uint64_t round_up(uint64_t bytes, uint64_t grain); /* saturates at UINT64_MAX */
uint64_t times(uint64_t a, uint64_t b);            /* saturates */
#endif
