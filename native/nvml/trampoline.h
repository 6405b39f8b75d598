// SPDX-License-Identifier: Apache-2.0
// One exported function is 32 bytes of code whose place gives its index; weak, so that a hook in C of that name stands in its place.
#pragma once

  .text
  .balign 32
  .globl nvml_trampolines
  .hidden nvml_trampolines
nvml_trampolines:

.macro ENTRY index, name
  .balign 32
  .weak \name
  .type \name, %function
\name:
#if defined(__x86_64__)
  mov nvml_bound+8*\index(%rip), %rax
  test %rax, %rax
  jz 1f
  jmp *%rax
1: mov $\index, %eax
  jmp nvml_enter
#elif defined(__aarch64__)
  adrp x16, nvml_bound+8*\index
  ldr x16, [x16, #:lo12:nvml_bound+8*\index]
  cbz x16, 1f
  br x16
1: mov w16, #\index
  b nvml_enter
#endif
  .size \name, . - \name
.endm

.macro ENTRIES_END count
  .balign 32
  .bss
  .balign 8
  .globl nvml_bound
  .hidden nvml_bound
  .type nvml_bound, %object
nvml_bound:
  .skip 8*\count
  .size nvml_bound, 8*\count
  .section .note.GNU-stack, "", %progbits
.endm
