// SPDX-License-Identifier: Apache-2.0
// Which GPU an entry of the control page stands for where it names none (CONTROL_FLAG_BY_CARD): GPUs get the entries in the order in which processes first
// meet them, and the ledger notes their UUIDs. So a card has one limit, whatever number a process knows it by (CUDA_VISIBLE_DEVICES).
//
// Any process may do it, also one that takes no slot, and many at once: each of a card's two words is set once, by compare-and-swap. A process that is
// killed between them leaves a first word, which the next one that has the same completes, and others pass over.
#include "vram/core.h"
#include "vram/ledger.h"

static int claim(struct ledger_header *header, const uint64_t card[2]) {
  for (uint32_t i = 0, devices = control_devices(); i < devices; i++) {
    uint64_t *words = &header->cards[2 * i], first = 0, second = 0;
    if (!compare_swap(&words[0], &first, card[0]) && first != card[0]) continue;
    if (compare_swap(&words[1], &second, card[1]) || second == card[1]) return (int)i;
  }
  return LEDGER_UNLISTED;
}

int card_index(const uint8_t uuid[16]) {
  uint64_t card[2];
  memcpy(card, uuid, sizeof card);
  if (card[0] == 0 || card[1] == 0) return LEDGER_UNLISTED; // no card has such a one
  long fd = sys_open(ledger_path(), O_RDWR_ | O_NONBLOCK_);
  int is_file = fd >= 0 && !file_is(fd, LEDGER_SIZE);
  struct ledger_header *header = is_file ? sys_mmap(sizeof *header, PROT_READ_ | PROT_WRITE_, MAP_SHARED_, fd) : NULL;
  if (fd >= 0) sys_close(fd);
  if (!header) {
    int later = is_file || is_scarce(fd); // a ledger that cannot be mapped: no memory
    ledger_complain(later ? ledger_short : "the ledger cannot be opened");
    return later ? LEDGER_LATER : LEDGER_UNLISTED;
  }
  int index = LEDGER_UNLISTED;
  if (!ledger_is_ours((const struct ledger *)header)) ledger_complain("the ledger is not this session's, or of another version");
  else if ((index = claim(header, card)) == LEDGER_UNLISTED) ledger_complain("all its entries belong to other GPUs");
  sys_munmap(header, sizeof *header);
  return index;
}
