// SPDX-License-Identifier: Apache-2.0
// The keeper: a bare thread with a descriptor table of its own, which holds the slot's liveness lock and looks whether the
// processes of other slots live.
//
// Liveness of slot N is an OFD write lock on byte LIVE_BASE + N of `ledger`. Such a lock belongs to the open file, not to a
// process: it goes when the last descriptor and the last mapping of that open file are gone. Two things hold ours:
//
//  1. The keeper's descriptor. The program never sees it: a program that closes all its descriptors (daemons, Python's
//     subprocess) does not drop it, and a child made by fork does not inherit it, since fork copies the table of the thread
//     that forks. This is what solves the fork caveat of a plain descriptor, which every child would keep open.
//  2. The mapping of the ledger, made from that descriptor and kept out of children by MADV_DONTFORK. When a process is
//     killed, the keeper is gone at once, but the address space goes with the last thread, and the file it held is put after
//     that thread closed its descriptors: so the lock goes about when the GPU's memory really does, and not 40 us after the
//     signal while gigabytes are still being torn down. On overlayfs a mapping holds another file; there (1) alone holds.
//
// exec, exit and SIGKILL end both. What is left: a child forked by another thread in the microsecond between mmap and madvise
// keeps (2) until it execs or ends. The slot then stays charged for longer than it should; never shorter.
//
// The thread has no thread-local state (it runs on a copy of its maker's TLS pointer and must not use it), so it calls nothing
// but the functions in this file that are marked BARE, and system calls. All signals are blocked in it.
#include "vram/core.h"

enum {
  CLONE_VM_ = 0x100, CLONE_SIGHAND_ = 0x800, CLONE_THREAD_ = 0x10000, CLONE_SYSVSEM_ = 0x40000,
  PR_SET_NAME_ = 15, GUARD = 4096, STACK = 32 * 1024
};

/** The keeper answers in microseconds unless the machine stands still. */
#define ERRAND_PATIENCE (10000 * MILLISECOND)

BARE_INLINE struct sys_flock live_byte(uint32_t slot) {
  struct sys_flock lock = {F_WRLCK_, 0, 0, (int64_t)(LIVE_BASE + slot), 1, 0, 0};
  return lock;
}

/** 1: somebody else holds the byte; 0: nobody; -1: cannot tell. */
BARE static int held(long fd, uint32_t slot) {
  struct sys_flock lock = live_byte(slot);
  if (sys_fcntl(fd, F_OFD_GETLK_, &lock) < 0) return -1;
  return lock.type != F_UNLCK_;
}

BARE static void let_go(struct keeper *keeper) {
  if (keeper->ledger) sys_munmap(keeper->ledger, LEDGER_SIZE);
  if (keeper->lock_fd >= 0) sys_close(keeper->lock_fd);
  if (keeper->probe_fd >= 0) sys_close(keeper->probe_fd);
  keeper->ledger = NULL;
  keeper->lock_fd = keeper->probe_fd = -1;
}

/** Who we are, for people: nothing here can fail. */
BARE static void name_self(struct slot_identity *who) {
  char text[512];
  long fd = sys_open("/proc/self/stat", O_RDONLY_);
  long size = fd < 0 ? 0 : sys_read(fd, text, sizeof text);
  if (fd >= 0) sys_close(fd);
  // pid (name) state ...: the name may hold anything, so the fields count from the last bracket. Start time is field 22.
  long open = -1, close = -1;
  for (long i = 0; i < size; i++) {
    if (text[i] == '(' && open < 0) open = i;
    if (text[i] == ')') close = i;
  }
  for (uint32_t i = 0; i < sizeof who->name; i++) {
    long at = open + 1 + i;
    who->name[i] = open >= 0 && at < close && i < sizeof who->name - 1 ? (uint8_t)text[at] : 0;
  }
  uint64_t started = 0;
  int field = 2;
  for (long i = close < 0 ? size : close + 2; i < size && field <= 22; i++) {
    if (text[i] == ' ') field++;
    else if (field == 21 && text[i] >= '0' && text[i] <= '9') started = started * 10 + (uint64_t)(text[i] - '0');
  }
  struct { uint64_t device, inode, rest[30]; } stat;
  stat.inode = 0;
  sys4(SYS_newfstatat, AT_FDCWD_, "/proc/self/ns/pid", &stat, 0);
  who->started = started;
  who->pid_namespace = stat.inode;
  who->pid = sys_getpid();
  who->uid = (uint32_t)sys1(SYS_geteuid, 0);
}

/** The first slot whose byte is free, so that the slots in use stay few and low. */
BARE static int32_t take_slot(long fd) {
  for (uint32_t slot = 0; slot < SLOTS; slot++) {
    struct sys_flock lock = live_byte(slot);
    long result = sys_fcntl(fd, F_OFD_SETLK_, &lock);
    if (result == 0) return (int32_t)slot;
    if (result != -E_AGAIN && result != -E_ACCES) return -REFUSED_LOCK;
  }
  return -REFUSED_FULL;
}

BARE static int32_t open_and_take(struct keeper *keeper, const char *path) {
  keeper->lock_fd = sys_open(path, O_RDWR_ | O_NONBLOCK_);
  keeper->probe_fd = sys_open(path, O_RDWR_ | O_NONBLOCK_);
  if (keeper->lock_fd < 0 || keeper->probe_fd < 0) return REFUSED_OPEN;
  if (file_is(keeper->lock_fd, LEDGER_SIZE)) return REFUSED_LEDGER;
  // A hole in the file that the disk has no room for would be SIGBUS at the first store: better no slot. Only the lines of
  // the devices in use are needed. A file system that cannot promise (EOPNOTSUPP) is taken at its word.
  uint32_t devices = load_relaxed(&ledger_control->device_count);
  uint64_t needed = offsetof(struct ledger, cells) + (devices < DEVICES ? devices : DEVICES) * sizeof(struct slot_cell[SLOTS]);
  if (sys4(SYS_fallocate, keeper->lock_fd, 0, 0, needed) == -28 /* ENOSPC */) return REFUSED_MEMORY;
  keeper->ledger = sys_mmap(LEDGER_SIZE, PROT_READ_ | PROT_WRITE_, MAP_SHARED_, keeper->lock_fd);
  if (!keeper->ledger) return REFUSED_MEMORY;
  sys_madvise(keeper->ledger, LEDGER_SIZE, MADV_DONTFORK_);
  if (!ledger_is_ours(keeper->ledger)) return REFUSED_LEDGER;
  name_self(&keeper->who);
  keeper->slot = take_slot(keeper->lock_fd);
  if (keeper->slot < 0) return -keeper->slot;
  // Where locks are not seen by others (a file system that ignores them) every slot would look dead: deny.
  return held(keeper->probe_fd, (uint32_t)keeper->slot) == 1 ? REFUSED_NOT : REFUSED_LOCK;
}

BARE static void probe(long fd, const uint64_t wanted[SLOT_WORDS], uint64_t dead[SLOT_WORDS]) {
  for (uint32_t word = 0; word < SLOT_WORDS; word++) {
    uint64_t found = 0;
    for (uint64_t left = wanted[word]; left; left &= left - 1) {
      uint32_t bit = (uint32_t)__builtin_ctzll(left);
      if (held(fd, word * 64 + bit) == 0) found |= UINT64_C(1) << bit;
    }
    dead[word] = found;
  }
}

/* ---- the thread ---- */

/** Kernels before 5.9, or a filter that does not know close_range: the numbers in /proc, and without /proc all small ones. */
BARE static void close_one_by_one(void) {
  char names[1024];
  long folder = sys_open("/proc/thread-self/fd", O_RDONLY_ | O_DIRECTORY_);
  if (folder < 0) {
    for (long fd = 0; fd < 65536; fd++) sys_close(fd);
    return;
  }
  long size;
  while ((size = sys3(SYS_getdents64, folder, names, sizeof names)) > 0) {
    // struct linux_dirent64: inode, offset, u16 length at 16, type at 18, name at 19.
    for (long at = 0; at + 19 < size;) {
      uint32_t step = (uint8_t)names[at + 16] | (uint32_t)(uint8_t)names[at + 17] << 8;
      long fd = 0;
      const char *digit = names + at + 19;
      for (; *digit >= '0' && *digit <= '9'; digit++) fd = fd * 10 + (*digit - '0');
      if (digit != names + at + 19 && fd != folder) sys_close(fd);
      if (step < 20) break;
      at += step;
    }
  }
  sys_close(folder);
}

/** Root's powers are not needed to hold a lock: a program that gives them up later would not reach this thread. */
BARE static void drop_capabilities(void) {
  struct { uint32_t version, pid; } head = {0x20080522, 0};
  uint32_t none[6] = {0, 0, 0, 0, 0, 0};
  sys2(SYS_capset, &head, none);
}

BARE static void claim_by_thread(struct keeper *keeper) {
  keeper->result = open_and_take(keeper, ledger_path());
  if (keeper->result == REFUSED_NOT) drop_capabilities();
  else let_go(keeper);
}

BARE __attribute__((used)) static void keeper_main(struct arena *arena) {
  struct keeper *keeper = &arena->keeper;
  // fork semantics gave this thread copies of all descriptors; they go before anybody can miss an end of file for them.
  if (sys3(SYS_close_range, 0, ~0U, 0) < 0) close_one_by_one();
  sys2(SYS_prctl, PR_SET_NAME_, "penstock-vram");
  for (uint32_t errand = 1;;) {
    if (keeper->ledger) probe(keeper->probe_fd, keeper->wanted, keeper->dead);
    else claim_by_thread(keeper);
    store_release(&keeper->answered, errand);
    sys_futex_wake(&keeper->answered, 1, FUTEX_PRIVATE_);
    uint32_t asked;
    // A wait without end: it ends with the process.
    while ((asked = load_acquire(&keeper->asked)) == errand)
      sys4(SYS_futex, &keeper->asked, FUTEX_WAIT_ | FUTEX_PRIVATE_, errand, 0);
    errand = asked;
  }
}

/** A thread at keeper_main(arena) on `top`. The thread's number or -errno. */
static long bare_clone(uint64_t flags, void *top, struct arena *arena) {
#if defined(__x86_64__)
  long result;
  register long none __asm__("r10") = 0;
  register long tls __asm__("r8") = 0;
  __asm__ volatile("syscall\n\t"
                   "test %%rax, %%rax\n\t"
                   "jnz 1f\n\t"
                   "xor %%ebp, %%ebp\n\t"
                   "mov %[arena], %%rdi\n\t"
                   "call *%[main]\n\t"
                   "xor %%edi, %%edi\n\t"
                   "mov $60, %%eax\n\t"
                   "syscall\n\t"
                   "hlt\n"
                   "1:"
                   : "=a"(result)
                   : "0"(SYS_clone), "D"(flags), "S"(top), "d"(0), "r"(none), "r"(tls), [arena] "r"(arena), [main] "r"(keeper_main)
                   : "rcx", "r11", "memory", "cc");
  return result;
#else
  register long x8 __asm__("x8") = SYS_clone;
  register uint64_t x0 __asm__("x0") = flags;
  register void *x1 __asm__("x1") = top;
  register long x2 __asm__("x2") = 0;
  register long x3 __asm__("x3") = 0;
  register long x4 __asm__("x4") = 0;
  register struct arena *x5 __asm__("x5") = arena;
  register void (*x6)(struct arena *) __asm__("x6") = keeper_main;
  __asm__ volatile("svc #0\n\t"
                   "cbnz x0, 1f\n\t"
                   "mov x29, #0\n\t"
                   "mov x30, #0\n\t"
                   "mov x0, x5\n\t"
                   "blr x6\n\t"
                   "mov x0, #0\n\t"
                   "mov x8, #93\n\t"
                   "svc #0\n\t"
                   "brk #1\n"
                   "1:"
                   : "+r"(x0)
                   : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5), "r"(x6)
                   : "memory", "cc");
  return (long)x0;
#endif
}

/** Waits until `answered` is `done`; 0, or 1 when it did not come. */
static int await(struct keeper *keeper, uint32_t done) {
  uint64_t end = 0;
  for (;;) {
    uint32_t answered = load_acquire(&keeper->answered);
    if (answered == done) return 0;
    uint64_t now = sys_nanoseconds();
    if (!end) end = now + ERRAND_PATIENCE;
    if (now >= end) return 1;
    sys_futex_wait(&keeper->answered, answered, end - now, FUTEX_PRIVATE_);
  }
}

static int start_thread(struct arena *arena) {
  char *stack = sys_mmap(GUARD + STACK, PROT_NONE_, MAP_PRIVATE_ | MAP_ANONYMOUS_ | MAP_NORESERVE_, -1);
  if (!stack) return 1;
  if (sys3(SYS_mprotect, stack + GUARD, STACK, PROT_READ_ | PROT_WRITE_) < 0) {
    sys_munmap(stack, GUARD + STACK);
    return 1;
  }
  sys_madvise(stack, GUARD + STACK, MADV_DONTFORK_);
  arena->keeper.asked = 1;
  store_release(&arena->keeper.answered, 0);
  // Without CLONE_FILES, see above, and without CLONE_FS, so that the program may still setns. The caller has blocked all
  // signals, and the thread keeps that mask.
  uint64_t flags = CLONE_VM_ | CLONE_SIGHAND_ | CLONE_THREAD_ | CLONE_SYSVSEM_;
  if (bare_clone(flags, stack + GUARD + STACK - 64, arena) > 0) return 0;
  sys_munmap(stack, GUARD + STACK);
  return 1;
}

/**
 * Where no thread may be made (a seccomp filter, a limit on processes): in this thread. The mapping then holds the lock alone,
 * and no descriptor stays open in the program's own table, where the program could close it and a fork inherit it. Where a
 * mapping does not hold it (overlayfs) there is no slot: a lock that may go while its process lives would lend twice.
 */
static int claim_here(struct keeper *keeper) {
  int result = open_and_take(keeper, ledger_path());
  if (result == REFUSED_NOT) {
    sys_close(keeper->lock_fd);
    keeper->lock_fd = -1;
    if (held(keeper->probe_fd, (uint32_t)keeper->slot) != 1) result = REFUSED_LOCK;
  }
  if (result != REFUSED_NOT) {
    let_go(keeper);
    return result;
  }
  sys_close(keeper->probe_fd);
  keeper->probe_fd = -1;
  return REFUSED_NOT;
}

/** Gives the keeper its next errand. */
static uint32_t send(struct keeper *keeper) {
  uint32_t errand = keeper->asked + 1;
  store_release(&keeper->asked, errand);
  sys_futex_wake(&keeper->asked, 1, FUTEX_PRIVATE_);
  return errand;
}

int keeper_claim(struct arena *arena) {
  struct keeper *keeper = &arena->keeper;
  if (!arena->bare) {
    if (keeper->ledger) return REFUSED_NOT; // claimed before; what came after it failed
    keeper->lock_fd = keeper->probe_fd = -1;
    arena->bare = !start_thread(arena);
    if (!arena->bare) return claim_here(keeper);
  } else if (load_acquire(&keeper->answered) == keeper->asked) {
    send(keeper); // an earlier try was refused; the thread is there
  }
  return await(keeper, keeper->asked) ? REFUSED_WAIT : keeper->result;
}

void keeper_probe(struct arena *arena, const uint64_t wanted[SLOT_WORDS], uint64_t dead[SLOT_WORDS]) {
  struct keeper *keeper = &arena->keeper;
  if (!arena->bare) {
    // Our own lock, which is held for certain, shows whether the answers can be believed.
    uint64_t with_own[SLOT_WORDS], own = UINT64_C(1) << arena->slot % 64;
    memcpy(with_own, wanted, sizeof with_own);
    with_own[arena->slot / 64] |= own;
    probe_once(with_own, dead);
    if (dead[arena->slot / 64] & own) memset(dead, 0, sizeof with_own);
    return;
  }
  memset(dead, 0, SLOT_WORDS * sizeof *dead);
  // An errand that was not answered in time may still be under way: nobody is called dead until it is over.
  if (load_acquire(&keeper->answered) != keeper->asked) return;
  memcpy(keeper->wanted, wanted, sizeof keeper->wanted);
  if (await(keeper, send(keeper))) return;
  memcpy(dead, keeper->dead, sizeof keeper->dead);
}

void probe_once(const uint64_t wanted[SLOT_WORDS], uint64_t dead[SLOT_WORDS]) {
  memset(dead, 0, SLOT_WORDS * sizeof *dead);
  long fd = sys_open(ledger_path(), O_RDONLY_ | O_NONBLOCK_);
  if (fd < 0) return;
  // The descriptor lies in the program's table, where another thread might close it and open something else under its number:
  // nobody is called dead on the word of another file.
  uint64_t found[SLOT_WORDS];
  int ours = !file_is(fd, LEDGER_SIZE);
  probe(fd, wanted, found);
  ours = ours && !file_is(fd, LEDGER_SIZE);
  sys_close(fd);
  if (ours) memcpy(dead, found, sizeof found);
}
