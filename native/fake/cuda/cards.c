// SPDX-License-Identifier: Apache-2.0
#include "cards.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* 32 hex digits, dashes and a leading "GPU-" ignored; as many bytes as there are. */
static unsigned read_uuid(const char *text, size_t length, CUuuid *uuid) {
  unsigned digits = 0;
  if (length > 4 && !strncasecmp(text, "GPU-", 4)) text += 4, length -= 4;
  for (size_t i = 0; i < length && digits < 32; i++) {
    if (!isxdigit((unsigned char)text[i])) continue;
    unsigned value = (unsigned)(isdigit((unsigned char)text[i]) ? text[i] - '0' : tolower(text[i]) - 'a' + 10);
    unsigned char *byte = &uuid->bytes[digits / 2];
    *byte = (unsigned char)(digits % 2 ? *byte | value : value << 4);
    digits++;
  }
  return digits;
}

void cards_read(struct cards *cards) {
  const char *count = getenv("FAKE_CUDA_DEVICES"), *sizes = getenv("FAKE_CUDA_MEMORY"), *uuids = getenv("FAKE_CUDA_UUIDS");
  uint64_t last = (uint64_t)16 << 30;
  memset(cards, 0, sizeof *cards);
  cards->count = count && *count ? atoi(count) : 1;
  if (cards->count > MAX_CARDS) cards->count = MAX_CARDS;
  for (int i = 0; i < cards->count; i++) {
    if (sizes && *sizes) {
      char *end;
      last = strtoull(sizes, &end, 0);
      sizes = *end == ',' ? end + 1 : NULL;
    }
    cards->memory[i] = last;
    memcpy(cards->uuid[i].bytes, "penstock-fake-", 14);
    cards->uuid[i].bytes[15] = (unsigned char)i;
    if (uuids && *uuids) {
      size_t length = strcspn(uuids, ",");
      read_uuid(uuids, length, &cards->uuid[i]);
      uuids += length + (uuids[length] == ',');
    }
  }
}

int cards_named(const struct cards *cards, const char *text, size_t length) {
  CUuuid prefix = {0};
  unsigned digits = length > 4 && !strncasecmp(text, "GPU-", 4) ? read_uuid(text, length, &prefix) : 0;
  for (int i = 0; digits && i < cards->count; i++)
    if (!memcmp(prefix.bytes, cards->uuid[i].bytes, digits / 2)) return i;
  return -1;
}
