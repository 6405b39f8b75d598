// SPDX-License-Identifier: Apache-2.0
// The table that fake/entries.awk makes of cuda/symbols.txt; ends with an entry without a symbol.
#ifndef PENSTOCK_FAKE_CUDA_ENTRIES_H
#define PENSTOCK_FAKE_CUDA_ENTRIES_H
#include "fake.h"

struct fake_entry {
  const char *symbol, *name;
  void *function;
  int version, per_thread;
};
extern const struct fake_entry fake_entries[];
/* What every entry point answers that this driver only names. */
CUresult fake_stub(const char *name);
CUresult cuDriverGetVersion(int *version);
#endif
