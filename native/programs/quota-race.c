// SPDX-License-Identifier: Apache-2.0
// quota-race LIMIT ROUNDS SEED: two processes at the limit, through the hooks and the driver, round after round. LIMIT is the slice's, with nothing
// in use. Prints `rounds N double N false N`: rounds in which more was granted than fits, and in which something was refused that fits.
//   both want 5/8 at the same moment: exactly one has it
//   both want 1/2: both have it
//   any two sizes: both where they fit together, else exactly one
//   one had most of it and freed it (its credit is idle now): the other has all
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "programs/driver-calls.h"

enum { GRAIN = 2 << 20 }; // of cuMemCreate

struct meeting {
  atomic_int arrived, round;
  atomic_int granted[2];
  uint64_t wrong_double, wrong_false, wrong_status;
};

static void meet(struct meeting *meeting, int *round) {
  ++*round;
  if (atomic_fetch_add(&meeting->arrived, 1) == 1) {
    atomic_store(&meeting->arrived, 0);
    atomic_store(&meeting->round, *round);
  }
  for (int spin = 0; atomic_load(&meeting->round) != *round; spin++)
    if (spin > 500) sched_yield();
}

static int take(int virtual_memory, uint64_t *what, uint64_t bytes) {
  return virtual_memory ? physical_alloc(what, bytes) : cu.alloc(what, bytes);
}
static void give(int virtual_memory, uint64_t what) {
  int result = virtual_memory ? cu.release(what) : cu.free(what);
  if (result) give_up("free", result);
}

static void judge(struct meeting *meeting, int expected) {
  int granted = atomic_load(&meeting->granted[0]) + atomic_load(&meeting->granted[1]);
  if (granted > expected) meeting->wrong_double++;
  if (granted < expected) meeting->wrong_false++;
}

/** What each wants in this round; both processes draw the same. The number of grants to expect. */
static int draw(uint64_t *random, uint64_t limit, uint64_t wants[2]) {
  uint64_t grains = limit / GRAIN;
  switch (next_random(random) % 3) {
    case 0:
      wants[0] = wants[1] = grains / 8 * 5 * GRAIN;
      return 1;
    case 1:
      wants[0] = wants[1] = grains / 2 * GRAIN;
      return 2;
    default:
      for (int i = 0; i < 2; i++) wants[i] = (next_random(random) % grains + 1) * GRAIN;
      return wants[0] + wants[1] <= limit ? 2 : 1;
  }
}

static void race(struct meeting *meeting, int me, uint64_t limit, int rounds, uint64_t seed) {
  uint64_t random = seed_of(seed);
  int round = 0;
  driver_start();
  for (int i = 0; i < rounds; i++) {
    uint64_t wants[2], mine;
    int expected = draw(&random, limit, wants);
    int virtual_memory = next_random(&random) & 1, hand_over = next_random(&random) % 4 == 0, first = next_random(&random) & 1;
    if (hand_over) {
      // Most of it used and freed by one; it keeps the credit until the other asks.
      if (me == first && !take(virtual_memory, &mine, limit / GRAIN / 4 * 3 * GRAIN)) give(virtual_memory, mine);
      meet(meeting, &round);
      if (me != first) wants[me] = limit;
      expected = 1;
    } else {
      meet(meeting, &round);
    }
    int asks = !hand_over || me != first;
    int result = asks ? take(virtual_memory, &mine, wants[me]) : DENIED;
    if (result != GRANTED && result != DENIED) meeting->wrong_status++;
    atomic_store(&meeting->granted[me], result == GRANTED);
    meet(meeting, &round);
    if (me == 0) judge(meeting, expected);
    if (result == GRANTED) give(virtual_memory, mine);
    meet(meeting, &round);
  }
}

int main(int count, char **arguments) {
  if (count != 4) return 64;
  uint64_t limit = strtoull(arguments[1], NULL, 10), seed = strtoull(arguments[3], NULL, 10);
  int rounds = atoi(arguments[2]), failed = 0;
  struct meeting *meeting = mmap(NULL, sizeof *meeting, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (meeting == MAP_FAILED) return 70;
  pid_t children[2];
  for (int i = 0; i < 2; i++) {
    children[i] = fork();
    if (children[i] == 0) {
      race(meeting, i, limit, rounds, seed);
      _exit(0);
    }
  }
  for (int i = 0; i < 2; i++) {
    int status = 0;
    // One that failed leaves the other waiting for it.
    pid_t ended = wait(&status);
    failed |= status;
    if (status) kill(children[0] == ended ? children[1] : children[0], 9);
  }
  printf("rounds %d double %llu false %llu other %llu\n", rounds, (unsigned long long)meeting->wrong_double,
         (unsigned long long)meeting->wrong_false, (unsigned long long)meeting->wrong_status);
  return failed ? 70 : 0;
}
