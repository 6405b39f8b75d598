// SPDX-License-Identifier: Apache-2.0
// kill-storm LIMIT KILLS SEED: three workers that allocate and free at random are killed at any moment and replaced, KILLS times; FAKE_CUDA_HEAP
// names the file in which the fake card keeps what each process really holds. After each kill, with the victim gone, the card must not hold more
// than LIMIT. At the end all are killed at once and a neighbour that has waited asks for everything, five times over.
// Prints `kills N above N ops N whole-us A B C D E waited-us A B C D E`: how often the card held more, what the workers did, the microseconds from
// the moment at which the neighbour hears that the last one is gone to the grant of all bytes, and how many of them it had no core (schedstat).
// (kill-storm worker LIMIT SEED; kill-storm heir LIMIT: its own children.)
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake/cuda/heap.h"
#include "programs/driver-calls.h"

enum { WORKERS = 3, ENDINGS = 5, LIVE = 48, COUNTER_FD = 30, MEGABYTE = 1 << 20, STEPS = 20, PATIENCE_MS = 5000 };

struct held {
  uint64_t address;
  int async;
};

static uint64_t some_size(uint64_t *random, uint64_t limit) {
  uint64_t kind = next_random(random) % 100, draw = next_random(random);
  if (kind < 60) return draw % (4 * MEGABYTE) + 1;
  if (kind < 97) return draw % (limit / 16) + 1;
  return draw % limit + 1;
}

static int take(struct held *held, uint64_t *random, uint64_t bytes) {
  size_t pitch;
  held->async = 0;
  switch (next_random(random) % 8) {
    case 0: return cu.pitch(&held->address, &pitch, bytes % 5000 + 1, bytes / 5000 + 1, 4);
    case 1: return cu.managed(&held->address, bytes, 1);
    case 2: held->async = 1; return cu.async(&held->address, bytes, NULL);
    default: return cu.alloc(&held->address, bytes);
  }
}

__attribute__((noreturn)) static void work(uint64_t limit, uint64_t seed) {
  atomic_ullong *operations = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, COUNTER_FD, 0);
  struct held held[LIVE];
  int live = 0;
  uint64_t random = seed_of(seed);
  driver_start();
  for (;;) {
    int denied = 0;
    if (live < LIVE && (live == 0 || next_random(&random) % 2)) {
      int result = take(&held[live], &random, some_size(&random, limit));
      if (result == GRANTED) live++;
      else if (result == DENIED) denied = 1;
      else give_up("allocation", result);
    }
    for (int freed = 0; live && (freed < 1 || (denied && freed < LIVE / 2)); freed++) {
      uint64_t at = next_random(&random) % (uint64_t)live;
      int result = held[at].async ? cu.async_free(held[at].address, NULL) : cu.free(held[at].address);
      if (result) give_up("free", result);
      held[at] = held[--live];
      if (!denied && next_random(&random) % 2) break;
    }
    atomic_fetch_add(operations, 1);
  }
}

struct took {
  uint64_t all, waited;
};

/** Nanoseconds that this thread could have run and had no core, so far. */
static uint64_t waited_for_core(void) {
  unsigned long long ran, waited;
  FILE *file = fopen("/proc/thread-self/schedstat", "r");
  if (!file || fscanf(file, "%llu %llu", &ran, &waited) != 2) give_up("schedstat", 0);
  fclose(file);
  return waited;
}

/** Waits for the moment on standard input, takes all there is, says how long it took. */
static int inherit(uint64_t limit) {
  uint64_t address, tries = 0;
  char now;
  driver_start();
  if (write(1, "r", 1) != 1 || read(0, &now, 1) != 1) return 70;
  uint64_t since = nanoseconds(), waited = waited_for_core();
  while (cu.alloc(&address, limit) != GRANTED && tries < 1000000) tries++;
  // Read inside of the time, so that no wait counts that is not a part of it.
  struct took took = {.waited = waited_for_core() - waited};
  took.all = nanoseconds() - since;
  return write(1, &took, sizeof took) == sizeof took && tries < 1000000 ? 0 : 70;
}

static const char *self, *limit_text;

static pid_t start_worker(uint64_t seed) {
  char text[32];
  snprintf(text, sizeof text, "%llu", (unsigned long long)seed);
  pid_t child = fork();
  if (child == 0) {
    execl(self, self, "worker", limit_text, text, (char *)NULL);
    _exit(71);
  }
  return child;
}

static void end_worker(pid_t worker) {
  int status;
  kill(worker, SIGKILL);
  if (waitpid(worker, &status, 0) != worker) give_up("wait", 0);
  if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) give_up("a worker ended by itself", status);
}

static uint64_t on_card(struct heap *heap) {
  heap_lock();
  heap_reap(heap);
  uint64_t used = heap->used[0];
  heap_unlock();
  return used;
}

static void sleep_some(uint64_t *random, uint64_t most_us) {
  uint64_t ns = next_random(random) % (most_us * 1000);
  nanosleep(&(struct timespec){0, (long)ns}, NULL);
}

/** Some steps of whoever is at it, however slow the machine is: a storm over processes that have not begun would prove nothing. */
static void let_work(const atomic_ullong *operations) {
  unsigned long long enough = atomic_load(operations) + STEPS;
  for (int i = 0; i < PATIENCE_MS * 10 && atomic_load(operations) < enough; i++) nanosleep(&(struct timespec){0, 100000}, NULL);
}

struct heir {
  pid_t pid;
  int to, from;
};

static struct heir start_heir(void) {
  int down[2], up[2];
  char ready;
  if (pipe(down) || pipe(up)) give_up("pipe", 0);
  pid_t child = fork();
  if (child == 0) {
    dup2(down[0], 0), dup2(up[1], 1);
    close(down[1]), close(up[0]);
    execl(self, self, "heir", limit_text, (char *)NULL);
    _exit(71);
  }
  close(down[0]), close(up[1]);
  if (read(up[0], &ready, 1) != 1) give_up("heir", 0);
  return (struct heir){child, down[1], up[0]};
}

static struct took ending(pid_t workers[WORKERS], uint64_t *random) {
  struct heir heir = start_heir();
  sleep_some(random, 8000);
  for (int i = 0; i < WORKERS; i++) end_worker(workers[i]);
  struct took took;
  if (write(heir.to, "g", 1) != 1) give_up("heir", 1);
  if (read(heir.from, &took, sizeof took) != sizeof took) give_up("the heir did not get everything", 2);
  waitpid(heir.pid, NULL, 0);
  close(heir.to), close(heir.from);
  return took;
}

static int storm(uint64_t limit, int kills, uint64_t seed) {
  uint64_t random = seed_of(seed), above = 0;
  struct took took[ENDINGS];
  int counter = memfd_create("operations", 0); // kept by exec
  if (counter < 0 || ftruncate(counter, 4096) || dup2(counter, COUNTER_FD) < 0) give_up("counter", 0);
  const atomic_ullong *operations = mmap(NULL, 4096, PROT_READ, MAP_SHARED, COUNTER_FD, 0);
  struct heap *heap = heap_open(getenv("FAKE_CUDA_HEAP"));
  if (!heap || operations == MAP_FAILED) give_up("FAKE_CUDA_HEAP", 0);
  pid_t workers[WORKERS];
  for (int i = 0; i < WORKERS; i++) workers[i] = start_worker(next_random(&random));
  for (int i = 0; i < kills; i++) {
    let_work(operations);
    sleep_some(&random, 6000);
    pid_t *victim = &workers[next_random(&random) % WORKERS];
    end_worker(*victim);
    above += on_card(heap) > limit;
    *victim = start_worker(next_random(&random));
  }
  for (int i = 0; i < ENDINGS; i++) {
    took[i] = ending(workers, &random);
    for (int j = 0; j < WORKERS; j++) workers[j] = start_worker(next_random(&random));
  }
  for (int i = 0; i < WORKERS; i++) end_worker(workers[i]);
  printf("kills %d above %llu ops %llu whole-us", kills, (unsigned long long)above, atomic_load(operations));
  for (int i = 0; i < ENDINGS; i++) printf(" %llu", (unsigned long long)(took[i].all / 1000));
  printf(" waited-us");
  for (int i = 0; i < ENDINGS; i++) printf(" %llu", (unsigned long long)(took[i].waited / 1000));
  printf("\n");
  return 0;
}

int main(int count, char **arguments) {
  if (count == 4 && !strcmp(arguments[1], "worker")) work(strtoull(arguments[2], NULL, 10), strtoull(arguments[3], NULL, 10));
  if (count == 3 && !strcmp(arguments[1], "heir")) return inherit(strtoull(arguments[2], NULL, 10));
  if (count != 4) return 64;
  self = arguments[0];
  limit_text = arguments[1];
  return storm(strtoull(arguments[1], NULL, 10), atoi(arguments[2]), strtoull(arguments[3], NULL, 10));
}
