// SPDX-License-Identifier: Apache-2.0
// session-tool make DIR BYTES     a session of one device (ordinal 0) with that limit; nobody may be in it
// session-tool show DIR           one line per process in it: PID USED LEASE (of device 0), then "sum USED"
// For places without Node, as machines with a GPU are apt to be; people use penstock-vram.
#include "programs/session.h"

static const struct ledger *ledger_of(const char *directory) {
  char path[4096];
  snprintf(path, sizeof path, "%s/ledger", directory);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) die(path);
  const void *at = mmap(NULL, LEDGER_SIZE, PROT_READ, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) die("mmap");
  close(fd);
  return at;
}

static int show(const char *directory) {
  const struct ledger *ledger = ledger_of(directory);
  unsigned long long sum = 0;
  for (uint32_t i = 0; i < SLOTS; i++) {
    const struct slot_identity *slot = &ledger->slots[i];
    const struct slot_cell *cell = &ledger->cells[0][i];
    if (__atomic_load_n(&slot->state, __ATOMIC_RELAXED) != SLOT_USED) continue;
    unsigned long long lease = __atomic_load_n(&cell->lease, __ATOMIC_RELAXED);
    unsigned long long idle = __atomic_load_n(&cell->avail, __ATOMIC_RELAXED) & ~SEIZING;
    unsigned long long used = lease > idle ? lease - idle : 0;
    printf("%u %llu %llu\n", slot->pid, used, lease);
    sum += used;
  }
  printf("sum %llu\n", sum);
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 4 && !strcmp(argv[1], "make")) {
    session_make(argv[2], 1, strtoull(argv[3], NULL, 0), 0);
    return 0;
  }
  if (argc == 3 && !strcmp(argv[1], "show")) return show(argv[2]);
  fprintf(stderr, "usage: session-tool make DIR BYTES | session-tool show DIR\n");
  return 2;
}
