// SPDX-License-Identifier: Apache-2.0
// hostile-ledger LEDGER LIMIT SEED: scribbles on the ledger page, the words that tell the cards of its entries included, while processes of the session allocate and free. For each number on standard input
// it makes that many corruptions, puts the words back by which the file is known as this session's ledger, and prints `scribbled`; at the end of input it
// stops the workers and prints
//   `ops N linear N pooled N physical N over N worst-ms N crashed N`: what the workers did, and were granted of each kind; how often one process held more than LIMIT by its own account; the longest
//   that one call took; how many workers a signal ended.
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "programs/driver-calls.h"
#include "vram/layout.gen.h"

enum { WORKERS = 3, THREADS = 2, LIVE = 24, LOW_SLOTS = 8, PAGE = 2 << 20 };

static struct shared {
  atomic_int stop, ready;
  atomic_ullong ops, granted[3], over, worst_ns; // granted: linear, from a pool, physical
} *shared;
static struct ledger *ledger;
static uint64_t limit;
static atomic_ullong own; // bytes that this process holds

static void note_time(uint64_t since) {
  uint64_t took = nanoseconds() - since;
  unsigned long long worst = atomic_load(&shared->worst_ns);
  while (took > worst && !atomic_compare_exchange_weak(&shared->worst_ns, &worst, took)) continue;
}

enum family { LINEAR, POOLED, PHYSICAL, FAMILIES };
struct block {
  uint64_t value, bytes;
  enum family family;
};

static int take(struct block *block, uint64_t *random) {
  uint64_t bytes = next_random(random) % 4 ? next_random(random) % (limit / 16) + 1 : next_random(random) % limit + 1;
  block->family = (enum family)(next_random(random) % FAMILIES);
  block->bytes = block->family == PHYSICAL ? (bytes + PAGE - 1) / PAGE * PAGE : bytes;
  if (block->family == LINEAR) return cu.alloc(&block->value, block->bytes);
  return block->family == POOLED ? cu.async(&block->value, block->bytes, NULL) : physical_alloc(&block->value, block->bytes);
}

static int give(const struct block *block, uint64_t *random) {
  if (block->family == PHYSICAL) return cu.release(block->value);
  return block->family == POOLED && next_random(random) % 2 ? cu.async_free(block->value, NULL) : cu.free(block->value);
}

/** Counted before it is freed and after it is granted: never more than is really held. */
static void *churn(void *seed) {
  uint64_t random = *(uint64_t *)seed;
  struct block blocks[LIVE];
  int live = 0;
  driver_join();
  while (!atomic_load(&shared->stop)) {
    uint64_t since = nanoseconds();
    if (live < LIVE && (live == 0 || next_random(&random) % 3)) {
      int result = take(&blocks[live], &random);
      if (result == GRANTED) {
        if (atomic_fetch_add(&own, blocks[live].bytes) + blocks[live].bytes > limit) atomic_fetch_add(&shared->over, 1);
        atomic_fetch_add(&shared->granted[blocks[live].family], 1);
        live++;
      } else if (result != DENIED) {
        give_up("alloc", result);
      }
    } else {
      uint64_t at = next_random(&random) % (uint64_t)live;
      atomic_fetch_sub(&own, blocks[at].bytes);
      if (give(&blocks[at], &random)) give_up("free", 0);
      blocks[at] = blocks[--live];
    }
    if (next_random(&random) % 16 == 0) {
      size_t available, total;
      if (cu.info(&available, &total)) give_up("info", 0);
      if (available > total || total > limit) atomic_fetch_add(&shared->over, 1);
    }
    note_time(since);
    atomic_fetch_add(&shared->ops, 1);
  }
  return NULL;
}

static pid_t start_worker(uint64_t seed) {
  pid_t child = fork();
  if (child) return child;
  pthread_t threads[THREADS];
  uint64_t seeds[THREADS];
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  uint64_t address;
  driver_start();
  // Whoever finds nonsense at its start is refused for good, which is right and soon told.
  if (cu.alloc(&address, 1) || cu.free(address)) _exit(72);
  atomic_fetch_add(&shared->ready, 1);
  while (atomic_load(&shared->ready) < WORKERS && !atomic_load(&shared->stop)) usleep(1000); // else the first leave nothing to the last
  for (uint64_t i = 0; i < THREADS; i++) {
    seeds[i] = seed_of(seed * THREADS + i);
    if (pthread_create(&threads[i], NULL, churn, &seeds[i])) _exit(71);
  }
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  _exit(0);
}

/* ---- the scribbler ---- */

static uint64_t dice = 1; // the scribbler's
static uint64_t draw(uint64_t below) { return next_random(&dice) % below; }

/** Numbers at which arithmetic turns over, and some that look right. */
static uint64_t tempting(void) {
  const uint64_t numbers[] = {0, 1, limit, limit - 1, limit + 1, limit * 2, UINT64_MAX, UINT64_MAX - 1, SEIZING, SEIZING | 1, SEIZING | limit,
    SEIZING - 1, UINT64_C(1) << 62, (UINT64_C(1) << 62) + 1, UINT32_MAX, SLOTS, SLOTS + 1};
  return draw(3) ? numbers[draw(sizeof numbers / sizeof *numbers)] : next_random(&dice);
}

/** A word of the lock that names a slot, sometimes with the generation that it really has. */
static uint32_t lock_word(void) {
  uint32_t slot = (uint32_t)draw(LOW_SLOTS), generation = ledger->slots[slot].generation;
  switch (draw(6)) {
    case 0: return 0;
    case 1: return (uint32_t)next_random(&dice);
    case 2: return LOCK_WAITERS;
    case 3: return (slot + 1) | (uint32_t)draw(8) << LOCK_GENERATION_SHIFT | LOCK_WAITERS;
    case 4: return (slot + 1) | (generation + 1) << LOCK_GENERATION_SHIFT;
    // Of a process that lives: whoever waits has to be patient. Seldom, or nothing else would happen.
    default: return draw(400) ? (uint32_t)draw(LOCK_SLOT_MASK + 1) : (slot + 1) | generation << LOCK_GENERATION_SHIFT;
  }
}

static void scribble_header(struct ledger_header *header) {
  uint32_t number = (uint32_t)tempting();
  switch (draw(8)) {
    case 0: header->magic = tempting(); break;
    case 1: header->version = number; break;
    case 2: header->size = number; break;
    case 3: header->slots = number; break;
    case 4: header->devices = number; break;
    case 5: header->session[draw(16)] = (uint8_t)number; break;
    case 6: header->cards[draw(4)] = draw(3) ? tempting() : header->cards[draw(sizeof header->cards / 8)]; break;
    default: header->top = number; break;
  }
  // Later processes would find no ledger of theirs at all, which is denial and not a test of anything else.
  if (draw(4)) header->magic = LEDGER_MAGIC, header->version = LAYOUT_VERSION, header->size = LEDGER_SIZE, header->slots = SLOTS, header->devices = DEVICES;
}

static void scribble_journal(struct journal *journal) {
  journal->device = draw(2) ? 0 : (uint32_t)tempting();
  journal->amount = tempting();
  journal->lease = tempting();
  journal->slot = draw(4) ? (uint32_t)draw(LOW_SLOTS) + 1 : (uint32_t)tempting();
}

static void scribble(void) {
  struct slot_cell *cell = &ledger->cells[0][draw(LOW_SLOTS)];
  uint64_t kind = draw(100);
  if (kind < 20) __atomic_store_n(&cell->avail, tempting(), __ATOMIC_RELAXED);
  else if (kind < 40) __atomic_store_n(&cell->lease, tempting(), __ATOMIC_RELAXED);
  else if (kind < 52) __atomic_store_n(&ledger->header.lock, lock_word(), __ATOMIC_RELAXED);
  else if (kind < 62) scribble_journal(&ledger->header.journal);
  else if (kind < 70) scribble_header(&ledger->header);
  else if (kind < 76) ledger->slots[draw(LOW_SLOTS)].state = (uint32_t)tempting();
  else if (kind < 80) ledger->slots[draw(LOW_SLOTS)].generation = (uint32_t)tempting();
  else if (kind < 84) ((uint64_t *)ledger->header.stats)[draw(sizeof ledger->header.stats / 8)] = tempting();
  else if (kind < 99) ((uint64_t *)ledger)[draw(sizeof *ledger / 8)] = tempting();
  else memset((char *)ledger + draw(sizeof *ledger - 4096), (int)draw(256), draw(4096));
}

static void finish(pid_t workers[WORKERS]) {
  int crashed = 0, status;
  atomic_store(&shared->stop, 1);
  for (int i = 0; i < WORKERS; i++) crashed += waitpid(workers[i], &status, 0) != workers[i] || status != 0;
  printf("ops %llu linear %llu pooled %llu physical %llu over %llu worst-ms %llu crashed %d\n", shared->ops, shared->granted[LINEAR],
         shared->granted[POOLED], shared->granted[PHYSICAL], shared->over, shared->worst_ns / 1000000, crashed);
}

int main(int count, char **arguments) {
  if (count != 4) return 64;
  limit = strtoull(arguments[2], NULL, 10);
  dice = seed_of(strtoull(arguments[3], NULL, 10));
  int file = open(arguments[1], O_RDWR | O_CLOEXEC);
  ledger = mmap(NULL, sizeof *ledger, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (file < 0 || ledger == MAP_FAILED || shared == MAP_FAILED) return 70;
  struct ledger_header known;
  memcpy(&known, ledger, sizeof known);
  pid_t workers[WORKERS];
  for (int i = 0; i < WORKERS; i++) workers[i] = start_worker((uint64_t)i + dice);
  while (atomic_load(&shared->ready) < WORKERS && waitpid(-1, NULL, WNOHANG) == 0) usleep(1000);
  char line[64];
  while (fgets(line, sizeof line, stdin)) {
    int number = atoi(line);
    for (int i = 0; i < number; i++) {
      scribble();
      // Time for the others to take a step or two on what they find.
      for (uint64_t end = nanoseconds() + draw(20000); nanoseconds() < end;) continue;
    }
    memcpy(ledger, &known, offsetof(struct ledger_header, lock));
    printf("scribbled\n");
    fflush(stdout);
  }
  finish(workers);
  return 0;
}
