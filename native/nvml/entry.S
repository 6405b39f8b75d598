// SPDX-License-Identifier: Apache-2.0
// Binding a trampoline at its first call.
#include "vram/binder.h"

  .text
  .hidden nvml_bind
  binder nvml_enter, nvml_bind
  .section .note.GNU-stack, "", %progbits
