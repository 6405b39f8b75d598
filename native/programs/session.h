// SPDX-License-Identifier: Apache-2.0
// A session for tests: makes `control` and `ledger` in a directory and keeps the control page writable.
#ifndef PENSTOCK_PROGRAMS_SESSION_H
#define PENSTOCK_PROGRAMS_SESSION_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vram/layout.gen.h"

struct session {
  struct control *control;
  struct ledger *ledger;
  const char *directory;
};

__attribute__((noreturn)) static inline void die(const char *what) {
  perror(what);
  exit(70);
}

static inline void *session_file(const char *directory, const char *name, size_t size) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", directory, name);
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0 || ftruncate(fd, (off_t)size)) die(path);
  void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) die("mmap");
  close(fd);
  return at;
}

/** Forgets all that the ledger holds. No process of the session may be alive. */
static inline void session_wipe(struct session *session) {
  memset(session->ledger, 0, offsetof(struct ledger, cells));
  memset(session->ledger->cells, 0, session->control->device_count * sizeof session->ledger->cells[0]);
  struct ledger_header *header = &session->ledger->header;
  memcpy(header->session, session->control->session, sizeof header->session);
  header->magic = LEDGER_MAGIC;
  header->version = LAYOUT_VERSION;
  header->size = LEDGER_SIZE;
  header->slots = SLOTS;
  header->devices = DEVICES;
}

/** `devices` GPUs by ordinal, each with that limit; chunk 0: the default. */
static inline struct session session_make(const char *directory, uint32_t devices, uint64_t limit, uint64_t chunk) {
  struct session session = {session_file(directory, "control", CONTROL_SIZE), session_file(directory, "ledger", LEDGER_SIZE), directory};
  struct control *control = session.control;
  for (int i = 0; i < 16; i++) control->session[i] = (uint8_t)(i + 1);
  control->version = LAYOUT_VERSION;
  control->size = CONTROL_SIZE;
  control->state = CONTROL_STATE_ACTIVE;
  control->device_count = devices;
  control->chunk = chunk;
  for (uint32_t i = 0; i < devices; i++) {
    control->devices[i].ordinal = (int32_t)i;
    control->devices[i].limit = limit;
  }
  control->magic = CONTROL_MAGIC;
  session_wipe(&session);
  return session;
}

/** For the core that is linked without the preloaded object: where the session lies. */
#define SESSION_DIRECTORY(variable)                              \
  int self_directory(char *path, uint64_t size) {                \
    return snprintf(path, size, "%s", variable) >= (int)size;    \
  }

#endif
