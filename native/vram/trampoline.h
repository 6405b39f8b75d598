// SPDX-License-Identifier: Apache-2.0
// One exported entry point of the driver API is TRAMPOLINE_SIZE bytes of code; its place gives its index, its name stands in our own
// dynamic symbol table, so there is no second table of names.
//   PLAIN   jumps to the real function; bound at the first call.
//   HOOKED  jumps to the real function while the gate is open (no quota), else to hook_<name>. An open gate means that every hooked
//           name is bound, so this path has one branch and one indirect jump.
// Arguments stay where they are: only scratch registers of the calling convention are used.
#pragma once

#define TRAMPOLINE_SIZE 32

#ifdef __ASSEMBLER__

  .text
  .balign TRAMPOLINE_SIZE
  .globl vram_trampolines
  .hidden vram_trampolines
vram_trampolines:

#if defined(__x86_64__)

.macro PLAIN index, name
  .balign TRAMPOLINE_SIZE
  .globl \name
  .type \name, @function
\name:
  mov vram_real+8*\index(%rip), %rax
  test %rax, %rax
  jz 1f
  jmp *%rax
1: mov $\index, %eax
  jmp vram_bind
  .size \name, . - \name
.endm

.macro HOOKED index, name
  .balign TRAMPOLINE_SIZE
  .globl \name
  .type \name, @function
  .hidden hook_\name
\name:
  cmpl $1, vram_gate(%rip)
  jne 1f
  jmp *vram_real+8*\index(%rip)
1: jmp hook_\name
  .size \name, . - \name
.endm

#elif defined(__aarch64__)

.macro PLAIN index, name
  .balign TRAMPOLINE_SIZE
  .globl \name
  .type \name, @function
\name:
  adrp x16, vram_real+8*\index
  ldr x16, [x16, #:lo12:vram_real+8*\index]
  cbz x16, 1f
  br x16
1: mov w16, #\index
  b vram_bind
  .size \name, . - \name
.endm

.macro HOOKED index, name
  .balign TRAMPOLINE_SIZE
  .globl \name
  .type \name, @function
  .hidden hook_\name
\name:
  adrp x16, vram_gate
  ldr w16, [x16, #:lo12:vram_gate]
  tbz w16, #0, 1f
  adrp x16, vram_real+8*\index
  ldr x16, [x16, #:lo12:vram_real+8*\index]
  br x16
1: b hook_\name
  .size \name, . - \name
.endm

#else
#error "no trampolines for this architecture"
#endif

.macro TRAMPOLINES_END
  .balign TRAMPOLINE_SIZE
  .section .note.GNU-stack, "", @progbits
.endm

#endif
