// SPDX-License-Identifier: Apache-2.0
// pairs LIVE PAIRS PROCESSES THREADS [info|daemon]: what cuMemAlloc + cuMemFree take with LIVE allocations held (the oldest is freed, a new one
// made), in each of so many processes with so many threads, and what two uncontended atomic read-modify-writes take in the same process at the same
// time. One round for each line on standard input, so that several of us can be measured by turns.
//   info     cuMemGetInfo instead of a pair
//   daemon   no hook; each pair asks a daemon over a UNIX socket before and tells it after, as interceptors with a daemon per allocation do
// Prints `call NS unit NS` for each round: wall time per call of one thread; of several processes the mean.
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "programs/driver-calls.h"

enum { MAX_PROCESSES = 8, MAX_THREADS = 8, BYTES = 4096, LEAST_WARM = 1000 };

struct result {
  double call, unit;
};

static struct {
  atomic_int waiting, measured; // both only go up
  struct result results[MAX_PROCESSES];
} *shared;

static int live, pairs, threads, processes, daemon_socket = -1;
static const char *mode;

/* ---- the reference: a daemon that keeps the sum ---- */

struct message {
  int64_t bytes;
};

static void serve(int socket, int64_t limit) {
  struct message message;
  int64_t used = 0;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  while (recv(socket, &message, sizeof message, 0) == sizeof message) {
    if (used + message.bytes > limit) message.bytes = -1;
    else used += message.bytes;
    if (send(socket, &message, sizeof message, 0) != sizeof message) break;
  }
  _exit(0);
}

static void start_daemon(void) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) give_up("socketpair", 0);
  if (fork() == 0) serve(ends[1], INT64_C(1) << 40);
  close(ends[1]);
  daemon_socket = ends[0];
}

static void tell_daemon(int64_t bytes) {
  struct message message = {bytes};
  if (send(daemon_socket, &message, sizeof message, 0) != sizeof message) give_up("daemon", 1);
  if (recv(daemon_socket, &message, sizeof message, 0) != sizeof message || message.bytes != bytes) give_up("daemon", 2);
}

/* ---- what is measured ---- */

struct ring {
  uint64_t *addresses;
  int at;
};

static void fill(struct ring *ring) {
  ring->addresses = calloc((size_t)live, sizeof *ring->addresses);
  for (int i = 0; i < live; i++) {
    int result = cu.alloc(&ring->addresses[i], BYTES);
    if (result) give_up("alloc", result);
  }
}

static void run_pairs(struct ring *ring, int count) {
  uint64_t *at = &ring->addresses[ring->at], *end = ring->addresses + live;
  int by_daemon = daemon_socket >= 0;
  for (int i = 0; i < count; i++) {
    int result = cu.free(*at);
    if (by_daemon) tell_daemon(-BYTES);
    if (by_daemon) tell_daemon(BYTES);
    result |= cu.alloc(at, BYTES);
    if (result) give_up("pair", result);
    if (++at == end) at = ring->addresses;
  }
  ring->at = (int)(at - ring->addresses);
}

static void run_calls(struct ring *ring, int count) {
  size_t available, total;
  if (strcmp(mode, "info") != 0) {
    run_pairs(ring, count);
    return;
  }
  for (int i = 0; i < count; i++)
    if (cu.info(&available, &total)) give_up("cuMemGetInfo", 0);
}

static double time_units(int count) {
  static struct {
    _Alignas(128) uint64_t first;
    _Alignas(128) uint64_t second;
  } words;
  uint64_t start = nanoseconds();
  for (int i = 0; i < count; i++) {
    __atomic_fetch_add(&words.first, 1, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&words.second, 1, __ATOMIC_SEQ_CST);
  }
  return (double)(nanoseconds() - start) / count;
}

static pthread_barrier_t start_line, finish_line;

static void *follow(void *nothing) {
  struct ring ring = {0};
  driver_join();
  fill(&ring);
  for (;;) {
    pthread_barrier_wait(&start_line);
    run_pairs(&ring, pairs);
    pthread_barrier_wait(&finish_line);
  }
  return nothing;
}

/** Both processes run for as long as either is measured. */
static void meet(atomic_int *counter, int round, struct ring *busy) {
  atomic_fetch_add(counter, 1);
  while (atomic_load(counter) < (round + 1) * processes)
    if (busy) run_calls(busy, 100);
}

static struct result measure(struct ring *ring, int round) {
  struct result result;
  run_calls(ring, live > LEAST_WARM ? live : LEAST_WARM);
  result.unit = time_units(pairs);
  meet(&shared->waiting, round, ring);
  if (threads > 1) pthread_barrier_wait(&start_line);
  uint64_t start = nanoseconds();
  run_calls(ring, pairs);
  if (threads > 1) pthread_barrier_wait(&finish_line);
  result.call = (double)(nanoseconds() - start) / pairs;
  if (processes > 1) meet(&shared->measured, round, ring);
  return result;
}

__attribute__((noreturn)) static void work(int me, int turns, int done) {
  struct ring ring = {0};
  pthread_t others[MAX_THREADS];
  char letter = 0;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  pthread_barrier_init(&start_line, NULL, (unsigned)threads);
  pthread_barrier_init(&finish_line, NULL, (unsigned)threads);
  driver_start();
  fill(&ring);
  for (int i = 1; i < threads; i++)
    if (pthread_create(&others[i], NULL, follow, NULL)) give_up("thread", i);
  for (int round = 0; read(turns, &letter, 1) == 1; round++) {
    shared->results[me] = measure(&ring, round);
    if (write(done, &letter, 1) != 1) break;
  }
  _exit(0);
}

static void one_round(const int turns[], const int done[]) {
  struct result sum = {0, 0};
  char letter = 0;
  for (int i = 0; i < processes; i++)
    if (write(turns[i], &letter, 1) != 1) give_up("a worker is gone", i);
  for (int i = 0; i < processes; i++) {
    if (read(done[i], &letter, 1) != 1) give_up("a worker ended", i);
    sum.call += shared->results[i].call / processes, sum.unit += shared->results[i].unit / processes;
  }
  printf("call %.3f unit %.3f\n", sum.call, sum.unit);
  fflush(stdout);
}

int main(int count, char **arguments) {
  if (count < 5) return 64;
  live = atoi(arguments[1]), pairs = atoi(arguments[2]), processes = atoi(arguments[3]), threads = atoi(arguments[4]);
  mode = count > 5 ? arguments[5] : "";
  if (live < 1 || pairs < 1 || processes < 1 || processes > MAX_PROCESSES || threads < 1 || threads > MAX_THREADS) return 64;
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return 70;
  if (!strcmp(mode, "daemon")) start_daemon();
  int turns[MAX_PROCESSES], done[MAX_PROCESSES];
  for (int i = 0; i < processes; i++) {
    int down[2], up[2];
    if (pipe2(down, O_CLOEXEC) || pipe2(up, O_CLOEXEC)) give_up("pipe", 0);
    if (fork() == 0) work(i, down[0], up[1]);
    close(down[0]), close(up[1]);
    turns[i] = down[1], done[i] = up[0];
  }
  char letter;
  while (read(0, &letter, 1) == 1)
    if (letter == '\n') one_round(turns, done);
  return 0;
}
