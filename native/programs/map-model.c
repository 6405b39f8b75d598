// SPDX-License-Identifier: Apache-2.0
// map-model DIR random|crowd|threads STEPS SEED: the map alone, under a limit that is never reached, against an array that says what it holds.
//   random   keys as drivers give them: addresses in steps, handles in a row; some thousands at once, then few, again and again
//   crowd    keys that all begin at a few places of one shard: hundreds go past each of them
//   threads  both kinds in four threads at once, each with keys of its own
// Prints how many were held at most; ends with 1 at the first answer that differs.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "programs/session.h"
#include "vram/ledger.h"
#include "vram/map_hot.h"

#define LIMIT (UINT64_C(1) << 60)
#define BYTES (UINT64_C(1) << 40) // at most
enum { KINDS = 3, MOST = 6000, CROWD = 400, THREADS = 4, OWNERS = 5 };
static const uint64_t FACTOR = UINT64_C(0x9e3779b97f4a7c15); // of the map's hash

static const char *directory;
int self_directory(char *path, uint64_t size) { return snprintf(path, size, "%s", directory) >= (int)size; }

struct model {
  uint64_t state; // of its random numbers
  uint64_t own;   // bits that only its keys have
  int crowded;
  unsigned live, most, goal;
  struct map_entry held[MOST];
};

static uint64_t draw(struct model *m, uint64_t below) {
  m->state ^= m->state << 13, m->state ^= m->state >> 7, m->state ^= m->state << 17;
  return m->state % below;
}

static uint64_t inverse(void) {
  uint64_t x = FACTOR; // Newton: each step doubles the bits that are right
  for (int i = 0; i < 6; i++) x *= 2 - FACTOR * x;
  return x;
}

static uint64_t new_key(struct model *m, uint16_t kind) {
  if (!m->crowded) return draw(m, 2) ? m->own << 40 | (draw(m, 4 * MOST) + 1) << 9 : m->own << 40 | draw(m, 4 * MOST);
  // One shard, three beginnings: 20 top bits of the hash are one of three, the others any.
  uint64_t hashed = (UINT64_C(0xfffff) - draw(m, 3)) << 44 | m->own << 40 | draw(m, UINT64_C(1) << 36);
  return (hashed * inverse()) ^ (uint64_t)kind << 56;
}

static __attribute__((noreturn)) void differs(const char *what, uint64_t key) {
  printf("%s differs for key %#llx\n", what, (unsigned long long)key);
  exit(1);
}

static int same(const struct map_entry *a, const struct map_entry *b) {
  return a->key == b->key && a->owner == b->owner && a->bytes == b->bytes && a->kind == b->kind && a->device == b->device && a->count == b->count;
}

static unsigned where(const struct model *m, uint64_t key, uint16_t kind) {
  unsigned at = 0;
  while (at < m->live && (m->held[at].key != key || m->held[at].kind != kind)) at++;
  return at;
}

static void insert(struct model *m) {
  uint16_t kind = (uint16_t)(1 + draw(m, KINDS));
  int plain = draw(m, 2) == 0;
  struct map_entry entry = {new_key(m, kind), plain ? 0 : m->own * OWNERS + draw(m, OWNERS), draw(m, BYTES), kind, (int16_t)((int)draw(m, 2) - 1), plain ? 1 : (uint32_t)draw(m, 3) + 1};
  unsigned at = where(m, entry.key, kind); // there already: it is replaced
  int hot = plain && entry.device == 0 && draw(m, 2);
  if ((!hot || map_insert_hot(entry.key, kind, 0, entry.bytes)) && map_insert_entry(&entry)) differs("insert", entry.key);
  m->held[at] = entry;
  if (at == m->live) m->live++;
  if (m->live > m->most) m->most = m->live;
}

static void look(struct model *m, uint64_t key, uint16_t kind) {
  struct map_entry found;
  unsigned at = where(m, key, kind);
  int there = map_find(key, kind, &found);
  if (there != (at < m->live) || (there && !same(&found, &m->held[at]))) differs("find", key);
}

static void take_out(struct model *m, unsigned at) {
  struct map_entry out = m->held[at];
  uint64_t word = draw(m, 2) ? map_take_hot(out.key, out.kind) : 0;
  if (word && (bytes_of(word) != out.bytes || device_of(word) != 0 || kind_of(word) != out.kind)) differs("take", out.key);
  if (!word && !map_remove(m->held[at].key, m->held[at].kind, &out)) differs("remove", m->held[at].key);
  if (!same(&out, &m->held[at])) differs("entry", out.key);
  if (map_remove(out.key, out.kind, NULL)) differs("remove again", out.key);
  m->held[at] = m->held[--m->live];
}

static void change(struct model *m, struct map_entry *entry, uint64_t what) {
  uint64_t before = 0, bytes = draw(m, BYTES), owner = m->own * OWNERS + draw(m, OWNERS);
  struct map_entry out = {0};
  if (what == 0) {
    if (map_resize(entry->key, entry->kind, bytes, &before) || before != entry->bytes) differs("resize", entry->key);
    entry->bytes = bytes;
  } else if (what == 1) {
    if (!map_own(entry->key, entry->kind, entry->owner, owner) || map_own(entry->key, entry->kind, ~UINT64_C(0), 1)) differs("own", entry->key);
    entry->owner = owner;
  } else {
    entry->count++;
    if (!map_count(entry->key, entry->kind, 1, &out) || !same(&out, entry)) differs("count", entry->key);
  }
}

static void drop(struct model *m) {
  uint64_t owner = m->own * OWNERS + draw(m, OWNERS), expected = 0;
  if (owner == 0) return; // nobody's: the other threads' too
  for (unsigned at = 0; at < m->live;) {
    if (m->held[at].owner != owner) at++;
    else m->held[at] = m->held[--m->live], expected++;
  }
  if (map_drop(owner, 0) != expected) differs("drop", owner);
}

static void step(struct model *m) {
  uint64_t dice = draw(m, 1000);
  if (m->live == m->goal) m->goal = (unsigned)draw(m, m->crowded ? CROWD : draw(m, 2) ? MOST : 100);
  if (dice < 2) drop(m);
  else if (dice < 100) look(m, new_key(m, 1), 1);
  else if (m->live && dice < 300) change(m, &m->held[draw(m, m->live)], draw(m, 3));
  else if (m->live && dice < 400) look(m, m->held[draw(m, m->live)].key, (uint16_t)(1 + draw(m, KINDS)));
  else if (m->live < m->goal) insert(m);
  else if (m->live) take_out(m, (unsigned)draw(m, m->live));
}

static int steps;

static void *run(void *model) {
  struct model *m = model;
  for (int i = 0; i < steps; i++) step(m);
  while (m->live) take_out(m, m->live - 1);
  return NULL;
}

int main(int count, char **arguments) {
  if (count != 5) return 2;
  directory = arguments[1];
  session_make(directory, 1, LIMIT, 0);
  if (!ledger_active()) return 2;
  int threads = !strcmp(arguments[2], "threads") ? THREADS : 1;
  steps = atoi(arguments[3]);
  static struct model models[THREADS];
  pthread_t handles[THREADS];
  for (int i = 0; i < threads; i++) {
    int crowded = threads > 1 ? i % 2 : !strcmp(arguments[2], "crowd");
    models[i] = (struct model){.state = (uint64_t)(atoi(arguments[4]) * 977 + i + 1), .own = (uint64_t)i, .crowded = crowded};
    if (pthread_create(&handles[i], NULL, run, &models[i])) return 2;
  }
  for (int i = 0; i < threads; i++) {
    pthread_join(handles[i], NULL);
    printf("%u at most\n", models[i].most);
  }
  if (map_bytes(0) != 0) differs("what is left", 0);
  return 0;
}
