// SPDX-License-Identifier: Apache-2.0
// Knobs, trace, injected failures, latency, and objects behind handles.
#include "cards.h"
#include "fake.h"

#include <ctype.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct knobs knobs;
_Atomic unsigned fake_armed = ARMED_COLD;
pthread_mutex_t fake_lock = PTHREAD_MUTEX_INITIALIZER;
_Thread_local struct thread fake_thread __attribute__((tls_model("initial-exec")));

static int trace_file = -1;

/* FAIL: "cuMemAlloc_v2:3" (the third call answers 2), "cuMemFree_v2:1+" (from the first on), "cuMemCreate:2:719" (that code). */
enum { MAX_FAILURES = 32 };
static struct failure {
  char name[64];
  unsigned at, from_then_on;
  CUresult result;
  _Atomic unsigned calls;
} failures[MAX_FAILURES];
static int failure_count;

static uint64_t number(const char *name, uint64_t otherwise) {
  const char *text = getenv(name);
  return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

static void read_failures(const char *text) {
  while (text && *text && failure_count < MAX_FAILURES) {
    struct failure *failure = &failures[failure_count];
    size_t length = strcspn(text, ":,");
    if (length >= sizeof failure->name) return;
    memcpy(failure->name, text, length);
    failure->name[length] = 0;
    failure->result = CUDA_ERROR_OUT_OF_MEMORY;
    char *end = NULL;
    if (text[length] == ':') {
      failure->at = (unsigned)strtoul(text + length + 1, &end, 10);
      if (*end == '+') failure->from_then_on = 1, end++;
      if (*end == ':') failure->result = (CUresult)strtol(end + 1, &end, 10);
      failure_count++;
    } else {
      end = (char *)(uintptr_t)(text + length);
    }
    text = *end == ',' ? end + 1 : NULL;
  }
}

/* As the driver reads it: numbers or UUID prefixes, the list ends at the first that names no card; unset is all. REVERSED: CUDA
   counts from the last card on, as it may where the fastest is no first one. */
static void read_devices(void) {
  struct cards cards;
  cards_read(&cards);
  bool reversed = number("FAKE_CUDA_REVERSED", 0);
  const char *visible = getenv("CUDA_VISIBLE_DEVICES");
  knobs.devices = 0;
  for (int i = 0; !visible && i < cards.count; i++) knobs.order[knobs.devices++] = reversed ? cards.count - 1 - i : i;
  while (visible && *visible && knobs.devices < cards.count) {
    size_t length = strcspn(visible, ",");
    bool counted = isdigit((unsigned char)*visible);
    int card = counted ? (int)strtol(visible, NULL, 10) : cards_named(&cards, visible, length);
    if (counted && reversed) card = cards.count - 1 - card;
    if (card < 0 || card >= cards.count) break;
    knobs.order[knobs.devices++] = card;
    visible += length + (visible[length] == ',');
  }
  for (int i = 0; i < knobs.devices; i++) {
    knobs.memory[i] = cards.memory[knobs.order[i]];
    knobs.uuid[i] = cards.uuid[knobs.order[i]];
  }
}

static unsigned read_knobs(void) {
  unsigned armed = 0;
  read_devices();
  knobs.context = number("FAKE_CUDA_CONTEXT", 0);
  knobs.grain = number("FAKE_CUDA_GRAIN", (uint64_t)2 << 20);
  knobs.pitch = number("FAKE_CUDA_PITCH", 512);
  knobs.pool_grain = number("FAKE_CUDA_POOL_GRAIN", (uint64_t)32 << 20);
  knobs.arenas = (unsigned)number("FAKE_CUDA_ARENAS", 16);
  knobs.driver_version = (int)number("FAKE_CUDA_DRIVER", DRIVER_VERSION);
  const char *latency = getenv("FAKE_CUDA_LATENCY_US"), *dash = latency ? strchr(latency, '-') : NULL;
  if (latency) {
    knobs.latency_low = dash ? (unsigned)strtoul(latency, NULL, 10) : 0;
    knobs.latency_high = (unsigned)strtoul(dash ? dash + 1 : latency, NULL, 10);
    if (!dash) knobs.latency_low = knobs.latency_high;
    if (knobs.latency_high) armed |= ARMED_LATENCY;
  }
  if (getenv("FAKE_CUDA_STALL")) armed |= ARMED_STALL;
  read_failures(getenv("FAKE_CUDA_FAIL"));
  if (failure_count) armed |= ARMED_FAIL;
  const char *trace = getenv("FAKE_CUDA_TRACE");
  if (trace && *trace && trace_file < 0) trace_file = open(trace, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (trace_file >= 0) armed |= ARMED_TRACE;
  return armed;
}

void fake_trace(const char *format, ...) {
  char line[512];
  if (trace_file < 0) return;
  int head = snprintf(line, sizeof line, "%d ", getpid());
  va_list arguments;
  va_start(arguments, format);
  int tail = vsnprintf(line + head, sizeof line - (size_t)head - 1, format, arguments);
  va_end(arguments);
  size_t length = (size_t)head + (size_t)(tail < (int)sizeof line - head - 2 ? tail : (int)sizeof line - head - 2);
  line[length++] = '\n';
  if (write(trace_file, line, length) < 0) return;
}

/* STALL: "cuMemFree_v2:FILE": the first such call makes FILE and does not go on while it is there. */
static void stall(const char *name) {
  const char *text = getenv("FAKE_CUDA_STALL"), *file = text ? strchr(text, ':') : NULL;
  if (!file || strlen(name) != (size_t)(file - text) || strncmp(text, name, (size_t)(file - text)) != 0) return;
  static atomic_bool done;
  int made = atomic_exchange(&done, true) ? -1 : open(file + 1, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (made < 0) return;
  close(made);
  while (!access(file + 1, F_OK)) usleep(1000);
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void be_slow(void) {
  static _Thread_local uint64_t seed __attribute__((tls_model("initial-exec")));
  uint64_t start = now_ns();
  if (!seed) seed = start ^ ((uint64_t)getpid() << 32) ^ (uint64_t)(uintptr_t)&seed;
  seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
  uint64_t span = (uint64_t)(knobs.latency_high - knobs.latency_low) * 1000 + 1;
  uint64_t until = start + (uint64_t)knobs.latency_low * 1000 + seed % span;
  while (now_ns() < until) sched_yield();
}

CUresult fake_enter_slow(const char *name, bool needs_init) {
  unsigned armed = atomic_load(&fake_armed);
  if (armed & ARMED_TRACE) fake_trace("call %s", name);
  if (needs_init && armed & (ARMED_COLD | ARMED_FORKED)) return CUDA_ERROR_NOT_INITIALIZED;
  if (armed & ARMED_LATENCY) be_slow();
  if (armed & ARMED_STALL) stall(name);
  for (int i = 0; armed & ARMED_FAIL && i < failure_count; i++) {
    struct failure *failure = &failures[i];
    if (strcmp(failure->name, name)) continue;
    unsigned call = atomic_fetch_add(&failure->calls, 1) + 1;
    if (call == failure->at || (failure->from_then_on && call > failure->at)) return failure->result;
  }
  return CUDA_SUCCESS;
}

/* The trace shows look-ups that come before cuInit too. */
__attribute__((constructor)) static void open_trace(void) {
  const char *trace = getenv("FAKE_CUDA_TRACE");
  if (!trace || !*trace) return;
  trace_file = open(trace, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (trace_file >= 0) atomic_fetch_or(&fake_armed, ARMED_TRACE);
}

/* As a real driver after fork: the child has to exec first. FORK=1 lets it go on with a copy of what the parent had. */
static void before_fork(void) { pthread_mutex_lock(&fake_lock); }
static void parent_forked(void) { pthread_mutex_unlock(&fake_lock); }
static void child_forked(void) {
  pthread_mutex_unlock(&fake_lock);
  if (!number("FAKE_CUDA_FORK", 0)) atomic_fetch_or(&fake_armed, ARMED_FORKED);
  else card_forked();
}

API CUresult cuInit(unsigned int flags) {
  unsigned armed = atomic_load(&fake_armed);
  if (armed & ARMED_FORKED) return CUDA_ERROR_NOT_INITIALIZED;
  if (armed & ~(unsigned)ARMED_COLD) {
    CUresult entered = fake_enter_slow(__func__, false);
    if (entered) return entered;
  }
  if (flags) return CUDA_ERROR_INVALID_VALUE;
  pthread_mutex_lock(&fake_lock);
  if (atomic_load(&fake_armed) & ARMED_COLD) {
    armed = read_knobs();
    if (knobs.devices) {
      card_init();
      block_init();
      pools_init();
      pthread_atfork(before_fork, parent_forked, child_forked);
      atomic_store(&fake_armed, armed);
    }
  }
  pthread_mutex_unlock(&fake_lock);
  return knobs.devices ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE;
}

/* ---- objects ---- */
enum { OBJECT_STRIDE = 64 };
static const uint64_t object_base = 0x610000000000;
static struct entry {
  void *object;
  uint32_t kind, next;
} *entries;
static uint32_t entry_count, entry_room, entry_free;

uint64_t object_new(enum object_kind kind, void *object) {
  uint32_t index = entry_free;
  if (index) {
    entry_free = entries[index].next;
  } else {
    if (entry_count + 1 >= entry_room) {
      uint32_t room = entry_room ? entry_room * 2 : 256;
      struct entry *more = realloc(entries, room * sizeof *entries);
      if (!more) return 0;
      entries = more, entry_room = room;
    }
    index = ++entry_count;
  }
  entries[index] = (struct entry){.object = object, .kind = kind};
  return object_base + (uint64_t)index * OBJECT_STRIDE;
}

static uint32_t index_of(uint64_t handle) {
  uint64_t offset = handle - object_base;
  if (handle < object_base || offset % OBJECT_STRIDE || offset / OBJECT_STRIDE > entry_count) return 0;
  return (uint32_t)(offset / OBJECT_STRIDE);
}

void *object_get(uint64_t handle, enum object_kind kind) {
  uint32_t index = index_of(handle);
  return index && entries[index].kind == kind ? entries[index].object : NULL;
}

void object_drop(uint64_t handle) {
  uint32_t index = index_of(handle);
  if (!index || entries[index].kind == OBJECT_NONE) return;
  entries[index] = (struct entry){.next = entry_free};
  entry_free = index;
}

void *object_next(enum object_kind kind, uint32_t *at, uint64_t *handle) {
  while (++*at <= entry_count) {
    if (entries[*at].kind != kind) continue;
    *handle = object_base + (uint64_t)*at * OBJECT_STRIDE;
    return entries[*at].object;
  }
  return NULL;
}

uint64_t card_bytes(uint64_t bytes) {
  if (knobs.grain <= 1) return bytes;
  return bytes > knobs.grain / 2 ? round_up(bytes, knobs.grain) : (bytes + 511) & ~(uint64_t)511;
}

uint64_t round_up(uint64_t bytes, uint64_t grain) {
  uint64_t over = grain ? bytes % grain : 0;
  return !over ? bytes : bytes > UINT64_MAX - (grain - over) ? UINT64_MAX : bytes + (grain - over);
}

uint64_t times(uint64_t a, uint64_t b) {
  uint64_t product;
  return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}
