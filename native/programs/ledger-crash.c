// SPDX-License-Identifier: Apache-2.0
// ledger-crash DIR FIRST STRIDE: kills a process at one instruction after another of the ledger's longest path (it registers,
// finds the pool short, takes idle credit from a neighbour and the lease of a dead process, and is granted), single-stepped by
// ptrace. After each kill the neighbour must get every byte that it does not hold, and not one more, within LATE_MS
// (milliseconds on a quiet machine; half of what the ledger waits at most, so that giving up would show).
// Prints how many instructions the path has. Exit 1: a wrong answer, with the instruction's number.
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

#include "programs/session.h"
#include "vram/ledger.h"

enum { LIMIT = 1000, MINE = 300, IDLE = 350, DEAD = 200, WANTED = 600, LATE_MS = LEDGER_PATIENCE_MS / 2, FAR = 200000 };

static const char *directory;
int self_directory(char *path, uint64_t size) { return snprintf(path, size, "%s", directory) >= (int)size; }

static uint64_t milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void fail(int at, const char *what, uint64_t number) {
  printf("killed at instruction %d: %s %llu\n", at, what, (unsigned long long)number);
  exit(1);
}

/** A process that dies with DEAD bytes; its slot stays as it left it. */
static void leave_dead(int at) {
  int ready[2];
  if (pipe(ready)) die("pipe");
  pid_t pid = fork();
  if (pid == 0) {
    char granted = ledger_reserve(0, DEAD) == 0;
    if (write(ready[1], &granted, 1) != 1) _exit(1);
    pause();
  }
  char granted = 0;
  if (read(ready[0], &granted, 1) != 1 || !granted) fail(at, "cannot set up", 0);
  close(ready[0]);
  close(ready[1]);
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
}

/** Steps the victim; 1: it was killed at that instruction, 0: it had ended before. */
static int kill_at(int at, int registered) {
  pid_t pid = fork();
  if (pid < 0) die("fork");
  if (pid == 0) {
    if (registered && ledger_register()) _exit(3);
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGSTOP);
    _exit(ledger_reserve(0, WANTED) == 0 ? 0 : 4);
  }
  int status;
  waitpid(pid, &status, 0);
  if (!WIFSTOPPED(status)) fail(at, "the victim ended early", (uint64_t)status);
  for (int step = 0; step < at; step++) {
    if (ptrace(PTRACE_SINGLESTEP, pid, 0, 0)) die("ptrace");
    waitpid(pid, &status, 0);
    if (WIFEXITED(status)) {
      if (WEXITSTATUS(status)) fail(step, "denied what fits: exit", (uint64_t)WEXITSTATUS(status));
      return 0;
    }
  }
  kill(pid, SIGKILL);
  waitpid(pid, &status, 0);
  return 1;
}

static void check(int at) {
  uint64_t limit, used, start = milliseconds();
  int all = ledger_reserve(0, LIMIT - MINE);
  uint64_t took = milliseconds() - start;
  if (all) fail(at, "what fits is denied; ms", took);
  if (took > LATE_MS) fail(at, "granted late; ms", took);
  if (!ledger_reserve(0, 1)) fail(at, "one byte above the limit", 0);
  ledger_report(0, &limit, &used);
  if (used != LIMIT) fail(at, "used is not the limit:", used);
  ledger_release(0, LIMIT - MINE);
  ledger_report(0, &limit, &used);
  if (used != MINE) fail(at, "used afterwards:", used);
}

static int sweep(int registered, int first, int stride) {
  int at = first;
  for (;; at += stride) {
    if (at > FAR) fail(at, "the path has no end", 0);
    // Ours: MINE in use, IDLE in credit. A dead process: DEAD. So the pool alone never has WANTED.
    if (ledger_reserve(0, IDLE)) fail(at, "cannot set up", 1);
    leave_dead(at);
    ledger_release(0, IDLE);
    int killed = kill_at(at, registered);
    check(at);
    if (!killed) break;
  }
  printf("%s: %d kills, path of about %d instructions\n", registered ? "registered" : "new", (at - first) / stride, at);
  return 0;
}

int main(int count, char **arguments) {
  if (count != 4) return 2;
  directory = arguments[1];
  // One CPU for the stepper and the stepped: a step is then a switch, not a wake-up of another CPU.
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET((unsigned)sched_getcpu(), &one);
  sched_setaffinity(0, sizeof one, &one);
  session_make(directory, 1, LIMIT, 100);
  if (ledger_reserve(0, MINE)) return 1;
  int first = atoi(arguments[2]), stride = atoi(arguments[3]);
  return sweep(0, first, stride) || sweep(1, first, stride);
}
