// SPDX-License-Identifier: Apache-2.0
// ledger-race DIR both|one|threads|forks|scribble ROUNDS: the core alone, without hooks or driver.
//   one      two processes want 5/8 of the limit at the same moment: exactly one gets it, each round
//   both     two processes want 1/2 of the limit each: both get it, each round
//   threads  four threads allocate and free at random; the sum is right at the end, and never above the limit meanwhile
//   forks    while four threads do so, ROUNDS children are forked at any moment of theirs: each starts with nothing, takes what
//            is its own, and half of them die with it; in the end it is all back
//   scribble a process writes noise over the ledger, ROUNDS times, while another allocates and frees: that one neither crashes
//            nor hangs, and never holds more than the limit
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "programs/session.h"
#include "vram/ledger.h"
#include "vram/map.h"

#define LIMIT (UINT64_C(4) << 30)
enum { KIND = 1, THREADS = 4, HELD = 64, SCRIBBLE_SECONDS = 60 };

static const char *directory;
int self_directory(char *path, uint64_t size) { return snprintf(path, size, "%s", directory) >= (int)size; }

struct meeting {
  atomic_int arrived, round;
  atomic_int granted[2];
};

static void meet(struct meeting *meeting, int *round) {
  ++*round;
  if (atomic_fetch_add(&meeting->arrived, 1) == 1) {
    atomic_store(&meeting->arrived, 0);
    atomic_store(&meeting->round, *round);
  }
  for (int spin = 0; atomic_load(&meeting->round) != *round; spin++)
    if (spin > 2000) sched_yield();
}

static int racer(struct meeting *meeting, int me, int rounds, uint64_t bytes, int winners) {
  int round = 0, wrong = 0;
  for (int i = 0; i < rounds; i++) {
    meet(meeting, &round);
    int granted = ledger_reserve(0, bytes) == 0;
    atomic_store(&meeting->granted[me], granted);
    meet(meeting, &round);
    if (atomic_load(&meeting->granted[0]) + atomic_load(&meeting->granted[1]) != winners) wrong++;
    if (granted) ledger_release(0, bytes);
    meet(meeting, &round);
  }
  return wrong > 255 ? 255 : wrong;
}

static int race(uint64_t bytes, int winners, int rounds) {
  struct meeting *meeting = mmap(NULL, sizeof *meeting, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pid_t child = fork();
  if (child == 0) _exit(racer(meeting, 1, rounds, bytes, winners));
  int wrong = racer(meeting, 0, rounds, bytes, winners), status = 0;
  waitpid(child, &status, 0);
  printf("%d rounds, %d wrong, child %d\n", rounds, wrong, status);
  return wrong || status;
}

static atomic_ullong sum;
static atomic_int above;

struct work { unsigned seed; int rounds; };

static void *worker(void *argument) {
  struct work *work = argument;
  uint64_t held[HELD] = {0};
  unsigned seed = work->seed;
  for (int i = 0; i < work->rounds; i++) {
    int at = rand_r(&seed) % HELD;
    uint64_t key = (uint64_t)work->seed << 32 | (uint64_t)at << 9 | 1;
    if (held[at]) {
      struct map_entry entry;
      if (!map_remove(key, KIND, &entry) || entry.bytes != held[at]) abort();
      atomic_fetch_sub(&sum, held[at]);
      ledger_release(0, held[at]);
      held[at] = 0;
      continue;
    }
    uint64_t bytes = (uint64_t)rand_r(&seed) % (LIMIT / 64) + 1;
    if (ledger_reserve(0, bytes)) continue;
    if (atomic_fetch_add(&sum, bytes) + bytes > LIMIT) atomic_fetch_add(&above, 1);
    if (map_insert(key, KIND, 0, bytes)) abort();
    held[at] = bytes;
  }
  for (int at = 0; at < HELD; at++) {
    if (!held[at]) continue;
    if (!map_remove((uint64_t)work->seed << 32 | (uint64_t)at << 9 | 1, KIND, NULL)) abort();
    atomic_fetch_sub(&sum, held[at]);
    ledger_release(0, held[at]);
  }
  return NULL;
}

static int threads(int rounds) {
  pthread_t thread[THREADS];
  struct work work[THREADS];
  for (int i = 0; i < THREADS; i++) {
    work[i] = (struct work){(unsigned)i + 1, rounds};
    pthread_create(&thread[i], NULL, worker, &work[i]);
  }
  for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
  uint64_t limit, used;
  ledger_report(0, &limit, &used);
  printf("%d above the limit, %llu left, map %llu\n", atomic_load(&above), (unsigned long long)used, (unsigned long long)map_bytes(0));
  return atomic_load(&above) || used || map_bytes(0) || ledger_reserve(0, LIMIT);
}

/** What a child of fork must find: nothing of its parent's, no lock held, and credit of its own. Exit status 0. */
static int child_of_threads(int number) {
  alarm(SCRIBBLE_SECONDS);
  if (map_bytes(0) != 0) return 1;
  const uint64_t key = 1 << 9;
  if (ledger_reserve(0, 4096)) return 2;
  if (map_insert(key, KIND, 0, 4096) || map_bytes(0) != 4096) return 3;
  if (number % 2) return 0; // the kernel tells the others
  if (!map_remove(key, KIND, NULL)) return 4;
  ledger_release(0, 4096);
  return 0;
}

static int forks(int rounds) {
  pthread_t thread[THREADS];
  struct work work[THREADS];
  // So much that the threads are on the slow path most of the time, and a page is left for the children.
  if (ledger_reserve(0, LIMIT / 8 * 7)) return 1;
  for (int i = 0; i < THREADS; i++) {
    work[i] = (struct work){(unsigned)i + 1, rounds * 200};
    pthread_create(&thread[i], NULL, worker, &work[i]);
  }
  int wrong = 0, served = 0;
  for (int i = 0; i < rounds; i++) {
    int status;
    pid_t pid = fork();
    if (pid == 0) _exit(child_of_threads(i));
    if (waitpid(pid, &status, 0) != pid || (status && status != 2 << 8)) wrong = status ? status : -1;
    served += status == 0;
  }
  for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
  ledger_release(0, LIMIT / 8 * 7);
  int all = ledger_reserve(0, LIMIT);
  printf("%d children, %d served, wrong status %d, all of it %s\n", rounds, served, wrong, all ? "denied" : "granted");
  return wrong || all || !served;
}

/** Where it hurts: the header, the first slots, their lines; numbers that mean something there, and noise. */
static uint64_t *target(struct ledger *ledger, unsigned *seed) {
  char *bases[] = {(char *)&ledger->header.lock, (char *)&ledger->header.journal, (char *)ledger->slots, (char *)ledger->cells[0], (char *)ledger};
  unsigned spans[] = {16, 64, 4 * sizeof ledger->slots[0], 4 * sizeof ledger->cells[0][0], sizeof *ledger};
  int at = rand_r(seed) % 5;
  return (uint64_t *)(void *)(bases[at] + ((unsigned)rand_r(seed) % spans[at] & ~7U));
}

static void scribble(struct ledger *ledger, int rounds) {
  unsigned seed = 7;
  for (int i = 0; i < rounds; i++) {
    uint64_t noise = (uint64_t)rand_r(&seed) << 33 ^ (uint64_t)rand_r(&seed) << 2;
    uint64_t values[] = {noise, 0, UINT64_MAX, LIMIT, SEIZING, SEIZING | LIMIT, noise & 0xfff, LIMIT / 2, noise & 0x7ff};
    *target(ledger, &seed) = values[rand_r(&seed) % 9];
    if (i % 16 == 0) usleep(1); // lets the other one get somewhere in between
  }
}

static int live_under_scribble(struct session *session, int rounds) {
  if (ledger_register()) return 1;
  pid_t child = fork();
  if (child == 0) {
    scribble(session->ledger, rounds);
    _exit(0);
  }
  alarm(SCRIBBLE_SECONDS);
  uint64_t held[HELD] = {0}, total = 0, most = 0, granted = 0, calls = 0;
  unsigned seed = 3;
  while (waitpid(child, NULL, WNOHANG) == 0) {
    int at = rand_r(&seed) % HELD;
    uint64_t key = (uint64_t)at << 9, bytes = (uint64_t)rand_r(&seed) % (LIMIT / 16) + 1;
    calls++;
    if (held[at]) {
      if (!map_remove(key, KIND, NULL)) abort();
      ledger_release(0, held[at]);
      total -= held[at];
      held[at] = 0;
    } else if (!ledger_reserve(0, bytes)) {
      if (map_insert(key, KIND, 0, bytes)) {
        ledger_release(0, bytes);
        continue;
      }
      held[at] = bytes;
      total += bytes;
      granted++;
      if (total > most) most = total;
    }
  }
  printf("%llu calls, %llu granted, %s\n", (unsigned long long)calls, (unsigned long long)granted, most > LIMIT ? "ABOVE THE LIMIT" : "never above the limit");
  return most > LIMIT;
}

int main(int count, char **arguments) {
  if (count != 4) return 2;
  directory = arguments[1];
  int rounds = atoi(arguments[3]);
  struct session session = session_make(directory, 1, LIMIT, 0);
  if (!strcmp(arguments[2], "one")) return race(LIMIT / 8 * 5, 1, rounds);
  if (!strcmp(arguments[2], "both")) return race(LIMIT / 2, 2, rounds);
  if (!strcmp(arguments[2], "threads")) return threads(rounds);
  if (!strcmp(arguments[2], "forks")) return forks(rounds);
  if (!strcmp(arguments[2], "scribble")) return live_under_scribble(&session, rounds);
  return 2;
}
