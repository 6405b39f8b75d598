// SPDX-License-Identifier: Apache-2.0
// For the generated entries.c only: names without their types.
#define cuDriverGetVersion fake_declared_elsewhere
#include "entries.h"
#undef cuDriverGetVersion
#define STUB(name)                                                       \
  __attribute__((weak, visibility("default"))) CUresult name(void);      \
  __attribute__((weak, visibility("default"))) CUresult name(void) { return fake_stub(#name); }
