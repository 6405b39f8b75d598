// SPDX-License-Identifier: Apache-2.0
// Bounded text without a C library.
#pragma once
#include <stddef.h>

struct text {
  char *start;
  size_t length, size;
  int cut; // something did not fit
};

static inline struct text text_in(char *buffer, size_t size) {
  buffer[0] = 0;
  return (struct text){buffer, 0, size, 0};
}

static inline void text_add(struct text *t, const char *more) {
  while (*more != 0 && t->length + 1 < t->size) t->start[t->length++] = *more++;
  t->start[t->length] = 0;
  if (*more != 0) t->cut = 1;
}

static inline int text_same(const char *a, const char *b) {
  while (*a != 0 && *a == *b) {
    a++;
    b++;
  }
  return *a == *b;
}

static inline int text_begins(const char *text, const char *prefix) {
  while (*prefix != 0) {
    if (*text++ != *prefix++) return 0;
  }
  return 1;
}
