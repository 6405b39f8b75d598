// SPDX-License-Identifier: Apache-2.0
// The real NVML behind this object.
#ifndef PENSTOCK_NVML_REAL_H
#define PENSTOCK_NVML_REAL_H
#include "nvml/api.h"

#define EXPORT __attribute__((visibility("default")))

/* A function of the real library; NULL where it, or the library, is missing. */
void *nvml_real(const char *name);
/* What stands for a function that is not there: it answers that the library, or the function, was not found. */
void *nvml_missing(void);

/* Calls the real function of the hook's own name. */
#define REAL(type, ...)                                                                                \
  __extension__({                                                                                      \
    static void *real_;                                                                                \
    void *now_ = __atomic_load_n(&real_, __ATOMIC_ACQUIRE);                                            \
    if (!now_) {                                                                                       \
      now_ = nvml_real(__func__);                                                                      \
      if (!now_) now_ = nvml_missing();                                                                \
      __atomic_store_n(&real_, now_, __ATOMIC_RELEASE);                                                \
    }                                                                                                  \
    ((type *)now_)(__VA_ARGS__);                                                                       \
  })
#endif
