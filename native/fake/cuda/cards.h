// SPDX-License-Identifier: Apache-2.0
// The cards of the fake machine, by FAKE_CUDA_DEVICES, FAKE_CUDA_MEMORY and FAKE_CUDA_UUIDS; for the driver and for NVML.
#ifndef PENSTOCK_FAKE_CARDS_H
#define PENSTOCK_FAKE_CARDS_H
#include "api.h"

enum { MAX_CARDS = 16 };
struct cards {
  int count;
  uint64_t memory[MAX_CARDS];
  CUuuid uuid[MAX_CARDS];
};
void cards_read(struct cards *cards);
/* The card whose UUID begins so ("GPU-" and hex digits); -1: none. */
int cards_named(const struct cards *cards, const char *text, size_t length);
#endif
