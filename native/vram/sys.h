// SPDX-License-Identifier: Apache-2.0
// The kernel without a C library: raw system calls for x86-64 and AArch64, and the atomics that the core uses. The object
// lives in glibc, musl and who knows what processes, so it calls no libc function and keeps no thread-local state.
#ifndef PENSTOCK_VRAM_SYS_H
#define PENSTOCK_VRAM_SYS_H

#include <stddef.h>
#include <stdint.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/** For code that runs on the keeper's bare thread: it has no thread-local state that a sanitizer could use. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(PENSTOCK_SANITIZE)
#define BARE __attribute__((no_sanitize("address", "thread", "undefined"), noinline))
#define BARE_INLINE static inline __attribute__((no_sanitize("address", "thread", "undefined"), always_inline))
#else
#define BARE __attribute__((noinline))
#define BARE_INLINE static inline __attribute__((always_inline))
#endif

/* ---- system calls: the result, or -errno ---- */

#if defined(__x86_64__)

enum {
  SYS_read = 0, SYS_write = 1, SYS_close = 3, SYS_mmap = 9, SYS_mprotect = 10, SYS_munmap = 11, SYS_rt_sigprocmask = 14, SYS_pread64 = 17,
  SYS_pwrite64 = 18, SYS_sched_yield = 24, SYS_madvise = 28, SYS_getpid = 39, SYS_clone = 56, SYS_exit = 60, SYS_fcntl = 72,
  SYS_fchmod = 91, SYS_geteuid = 107, SYS_capset = 126, SYS_statfs = 137, SYS_prctl = 157, SYS_gettid = 186, SYS_futex = 202,
  SYS_getdents64 = 217, SYS_clock_gettime = 228, SYS_exit_group = 231, SYS_openat = 257, SYS_newfstatat = 262, SYS_unlinkat = 263,
  SYS_linkat = 265, SYS_readlinkat = 267, SYS_fallocate = 285, SYS_prlimit64 = 302, SYS_renameat2 = 316, SYS_getrandom = 318,
  SYS_close_range = 436
};

BARE_INLINE long sys6(long n, long a, long b, long c, long d, long e, long f) {
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  long result;
  __asm__ volatile("syscall" : "=a"(result) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
  return result;
}

BARE_INLINE void cpu_relax(void) { __asm__ volatile("pause" ::: "memory"); }

/** A clock that costs nothing and only has to go on: cycles of about 0.3 to 1 ns. */
BARE_INLINE uint64_t cpu_ticks(void) {
  uint32_t low, high;
  __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
  return ((uint64_t)high << 32) | low;
}

#elif defined(__aarch64__)

enum {
  SYS_fcntl = 25, SYS_unlinkat = 35, SYS_linkat = 37, SYS_statfs = 43, SYS_fallocate = 47, SYS_fchmod = 52, SYS_openat = 56, SYS_close = 57,
  SYS_getdents64 = 61, SYS_read = 63, SYS_write = 64, SYS_pread64 = 67, SYS_pwrite64 = 68, SYS_readlinkat = 78, SYS_newfstatat = 79,
  SYS_capset = 91, SYS_exit = 93, SYS_exit_group = 94, SYS_futex = 98, SYS_clock_gettime = 113, SYS_sched_yield = 124,
  SYS_rt_sigprocmask = 135, SYS_prctl = 167, SYS_getpid = 172, SYS_geteuid = 175, SYS_gettid = 178, SYS_munmap = 215, SYS_clone = 220,
  SYS_mmap = 222, SYS_mprotect = 226, SYS_madvise = 233, SYS_prlimit64 = 261, SYS_renameat2 = 276, SYS_getrandom = 278,
  SYS_close_range = 436
};

BARE_INLINE long sys6(long n, long a, long b, long c, long d, long e, long f) {
  register long x8 __asm__("x8") = n;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  register long x5 __asm__("x5") = f;
  __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory", "cc");
  return x0;
}

BARE_INLINE void cpu_relax(void) { __asm__ volatile("yield" ::: "memory"); }

/** The generic timer, 1 to 40 ns a tick (Arm ARM D12.1): scaled so that both machines count in about nanoseconds. */
BARE_INLINE uint64_t cpu_ticks(void) {
  uint64_t ticks;
  __asm__ volatile("isb; mrs %0, cntvct_el0" : "=r"(ticks));
  return ticks * 16;
}

#else
#error "x86-64 and AArch64 only: CUDA runs on nothing else"
#endif

#define sys1(n, a) sys6((n), (long)(a), 0, 0, 0, 0, 0)
#define sys2(n, a, b) sys6((n), (long)(a), (long)(b), 0, 0, 0, 0)
#define sys3(n, a, b, c) sys6((n), (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define sys4(n, a, b, c, d) sys6((n), (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)

/** Errors as system calls return them. */
enum {
  E_PERM = 1, E_NOENT = 2, E_INTR = 4, E_AGAIN = 11, E_NOMEM = 12, E_ACCES = 13, E_EXIST = 17, E_NOTDIR = 20, E_INVAL = 22, E_NFILE = 23,
  E_MFILE = 24, E_NOSPC = 28, E_ROFS = 30, E_LOOP = 40, E_TIMEDOUT = 110, E_DQUOT = 122
};

enum {
  AT_FDCWD_ = -100, AT_SYMLINK_FOLLOW_ = 0x400, AT_EMPTY_PATH_ = 0x1000,
  O_RDONLY_ = 0, O_WRONLY_ = 1, O_RDWR_ = 2, O_CREAT_ = 0100, O_EXCL_ = 0200, O_NOCTTY_ = 0400, O_NONBLOCK_ = 04000, O_CLOEXEC_ = 02000000,
  PROT_NONE_ = 0, PROT_READ_ = 1, PROT_WRITE_ = 2,
  MAP_SHARED_ = 1, MAP_PRIVATE_ = 2, MAP_ANONYMOUS_ = 0x20, MAP_NORESERVE_ = 0x4000,
  MADV_DONTFORK_ = 10, MADV_DODUMP_ = 17, MADV_DONTDUMP_ = 16, MADV_WIPEONFORK_ = 18,
  FUTEX_WAIT_ = 0, FUTEX_WAKE_ = 1, FUTEX_PRIVATE_ = 128,
  F_OFD_GETLK_ = 36, F_OFD_SETLK_ = 37, F_RDLCK_ = 0, F_WRLCK_ = 1, F_UNLCK_ = 2,
  CLOCK_REALTIME_ = 0, CLOCK_MONOTONIC_ = 1, SIG_BLOCK_ = 0, SIG_SETMASK_ = 2
};

#if defined(__aarch64__)
enum { O_DIRECTORY_ = 040000, O_NOFOLLOW_ = 0100000 };
#else
enum { O_DIRECTORY_ = 0200000, O_NOFOLLOW_ = 0400000 };
#endif
enum { O_TMPFILE_ = 020000000 | O_DIRECTORY_ };

struct sys_timespec { int64_t sec, nsec; };

/** struct flock of 64-bit Linux. */
struct sys_flock { int16_t type, whence; int32_t pad0; int64_t start, length; int32_t pid, pad1; };

BARE_INLINE long sys_open(const char *path, int flags) {
  return sys4(SYS_openat, AT_FDCWD_, path, flags | O_CLOEXEC_ | O_NOCTTY_, 0);
}
BARE_INLINE long sys_close(long fd) { return sys1(SYS_close, fd); }
BARE_INLINE long sys_read(long fd, void *to, size_t size) { return sys3(SYS_read, fd, to, size); }
BARE_INLINE long sys_write(long fd, const void *from, size_t size) { return sys3(SYS_write, fd, from, size); }
BARE_INLINE long sys_fcntl(long fd, int command, void *argument) { return sys3(SYS_fcntl, fd, command, argument); }
BARE_INLINE long sys_munmap(void *at, size_t size) { return sys2(SYS_munmap, at, size); }
BARE_INLINE long sys_madvise(void *at, size_t size, int advice) { return sys3(SYS_madvise, at, size, advice); }
/** NULL when the kernel refuses. */
BARE_INLINE void *sys_mmap(size_t size, int protection, int flags, long fd) {
  long at = sys6(SYS_mmap, 0, (long)size, protection, flags, fd, 0);
  return at < 0 && at > -4096 ? NULL : (void *)at; // NOLINT: the kernel hands out an address as a number
}
BARE_INLINE uint32_t sys_getpid(void) { return (uint32_t)sys1(SYS_getpid, 0); }

/** Monotonic nanoseconds; a real system call (the vDSO has to be looked up), so for slow paths. */
BARE_INLINE uint64_t sys_nanoseconds(void) {
  struct sys_timespec now = {0, 0};
  sys2(SYS_clock_gettime, CLOCK_MONOTONIC_, &now);
  return (uint64_t)now.sec * UINT64_C(1000000000) + (uint64_t)now.nsec;
}

/** Sleeps while *word == value, at most that long. `private_` is FUTEX_PRIVATE_ or 0 for memory shared by processes. */
BARE_INLINE long sys_futex_wait(uint32_t *word, uint32_t value, uint64_t nanoseconds, int private_) {
  struct sys_timespec span = {(int64_t)(nanoseconds / 1000000000U), (int64_t)(nanoseconds % 1000000000U)};
  return sys4(SYS_futex, word, FUTEX_WAIT_ | private_, value, &span);
}
BARE_INLINE long sys_futex_wake(uint32_t *word, int count, int private_) {
  return sys3(SYS_futex, word, FUTEX_WAKE_ | private_, count);
}

/* ---- atomics: the names say the order ---- */

#define load_relaxed(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define store_relaxed(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define exchange_acquire(p, v) __atomic_exchange_n((p), (v), __ATOMIC_ACQUIRE)
#define fetch_add(p, v) __atomic_fetch_add((p), (v), __ATOMIC_ACQ_REL)
#define fetch_and(p, v) __atomic_fetch_and((p), (v), __ATOMIC_ACQ_REL)
/** *p == *expected: becomes v, true. Otherwise *expected = *p, false. */
#define compare_swap(p, expected, v) \
  __atomic_compare_exchange_n((p), (expected), (v), 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)

/* ---- memory; gcc calls the two by itself, so vram/mem.c defines them (hidden) ---- */

void *memset(void *to, int byte, size_t size);
void *memcpy(void *to, const void *from, size_t size);

#endif
