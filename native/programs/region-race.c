// SPDX-License-Identifier: Apache-2.0
// region-race PROCESSES BYTES USERS [SEED]: that many processes go at the same moment, and each takes BYTES of device 0 as the first thing that it does with
// the driver. As root with USERS above 0, process i is user 20000 + i % USERS. Prints `granted N denied N other N` when all have asked.
// With SEED they are killed one after another while they do it, and those that get through end at once.
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <signal.h>

#include "programs/driver-calls.h"

enum { FIRST_USER = 20000, PROCESSES = 256, LONGEST_NS = 200000 };
static struct shared {
  pthread_barrier_t start, asked;
  atomic_int answers[3]; // granted, denied, other
} *shared;

static uint64_t seed; // 0: nobody is killed

static void take(uint64_t bytes, unsigned user) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (user && (setgid(user) || setuid(user))) _exit(70);
  uint64_t address;
  pthread_barrier_wait(&shared->start);
  driver_start();
  int result = cu.alloc(&address, bytes);
  atomic_fetch_add(&shared->answers[result == GRANTED ? 0 : result == DENIED ? 1 : 2], 1);
  if (!seed) pthread_barrier_wait(&shared->asked); // until then each holds what it has
  _exit(0);
}

static void kill_all(const pid_t *children, unsigned processes) {
  for (unsigned i = 0; i < processes; i++) {
    for (uint64_t end = nanoseconds() + next_random(&seed) % LONGEST_NS; nanoseconds() < end;) continue;
    kill(children[i], SIGKILL);
  }
}

int main(int count, char **arguments) {
  if (count != 4 && count != 5) return 64;
  static pid_t children[PROCESSES];
  seed = count == 5 ? seed_of(strtoull(arguments[4], NULL, 10)) : 0;
  unsigned processes = (unsigned)atoi(arguments[1]), users = geteuid() == 0 ? (unsigned)atoi(arguments[3]) : 0;
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pthread_barrierattr_t many;
  pthread_barrierattr_init(&many);
  pthread_barrierattr_setpshared(&many, PTHREAD_PROCESS_SHARED);
  if (processes > PROCESSES || shared == MAP_FAILED || pthread_barrier_init(&shared->start, &many, processes + 1) || pthread_barrier_init(&shared->asked, &many, processes)) return 70;
  for (unsigned i = 0; i < processes; i++)
    if ((children[i] = fork()) == 0) take(strtoull(arguments[2], NULL, 10), users ? FIRST_USER + i % users : 0);
  pthread_barrier_wait(&shared->start);
  if (seed) kill_all(children, processes);
  int status, failed = 0;
  while (wait(&status) > 0) failed |= seed ? 0 : status;
  printf("granted %d denied %d other %d\n", shared->answers[0], shared->answers[1], shared->answers[2]);
  return failed ? 70 : 0;
}
