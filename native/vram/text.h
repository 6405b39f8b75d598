// SPDX-License-Identifier: Apache-2.0
// Bounded text without a C library.
#pragma once
#include <stddef.h>
#include <stdint.h>

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

/** Decimal. */
static inline void text_add_number(struct text *t, uint64_t number) {
  char digits[21];
  int at = sizeof digits - 1;
  digits[at] = 0;
  do digits[--at] = (char)('0' + number % 10);
  while ((number /= 10) != 0);
  text_add(t, digits + at);
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
