// SPDX-License-Identifier: Apache-2.0
// The two places where C would change what the callee sees: binding a trampoline at its first call, and the dlsym filter, which must jump
// (not call) into the real dlsym, since that one looks at its return address to find the caller for RTLD_NEXT and RTLD_DEFAULT.
#include "vram/binder.h"

  .text

  .hidden vram_real
  .hidden vram_gate
  .hidden vram_real_dlsym
  .hidden driver_bind
  .hidden dlsym_find_real
  .hidden dlsym_driver_name

  binder vram_bind, driver_bind

#if defined(__x86_64__)

  .globl dlsym
  .type dlsym, @function
// void *dlsym(void *handle, const char *name): anything that is not spelled cu[A-Z]… goes straight on.
dlsym:
  .cfi_startproc
  test %rsi, %rsi
  jz 1f
  cmpb $'c', (%rsi)
  jne 1f
  cmpb $'u', 1(%rsi)
  jne 1f
  movzbl 2(%rsi), %eax
  sub $'A', %eax
  cmp $25, %eax
  jbe 3f
1: mov vram_real_dlsym(%rip), %rax
  test %rax, %rax
  jz 2f
  jmp *%rax
2: push %rdi
  .cfi_adjust_cfa_offset 8
  push %rsi
  .cfi_adjust_cfa_offset 8
  sub $8, %rsp
  .cfi_adjust_cfa_offset 8
  call dlsym_find_real
  add $8, %rsp
  .cfi_adjust_cfa_offset -8
  pop %rsi
  .cfi_adjust_cfa_offset -8
  pop %rdi
  .cfi_adjust_cfa_offset -8
  jmp *%rax
3: push %rdi
  .cfi_adjust_cfa_offset 8
  push %rsi
  .cfi_adjust_cfa_offset 8
  sub $24, %rsp
  .cfi_adjust_cfa_offset 24
  mov 40(%rsp), %rdx
  lea 8(%rsp), %rcx
  call dlsym_driver_name
  mov 8(%rsp), %rdx
  add $24, %rsp
  .cfi_adjust_cfa_offset -24
  pop %rsi
  .cfi_adjust_cfa_offset -8
  pop %rdi
  .cfi_adjust_cfa_offset -8
  test %eax, %eax
  jz 1b
  mov %rdx, %rax
  ret
  .cfi_endproc
  .size dlsym, . - dlsym

#elif defined(__aarch64__)

  .globl dlsym
  .type dlsym, %function
dlsym:
  cbz x1, 1f
  ldrb w16, [x1]
  cmp w16, #'c'
  b.ne 1f
  ldrb w16, [x1, #1]
  cmp w16, #'u'
  b.ne 1f
  ldrb w16, [x1, #2]
  sub w16, w16, #'A'
  cmp w16, #25
  b.ls 3f
1: adrp x16, vram_real_dlsym
  ldr x16, [x16, #:lo12:vram_real_dlsym]
  cbz x16, 2f
  br x16
2: stp x29, x30, [sp, #-32]!
  mov x29, sp
  stp x0, x1, [sp, #16]
  bl dlsym_find_real
  mov x16, x0
  ldp x0, x1, [sp, #16]
  ldp x29, x30, [sp], #32
  br x16
3: stp x29, x30, [sp, #-48]!
  mov x29, sp
  stp x0, x1, [sp, #16]
  mov x2, x30
  add x3, sp, #32
  bl dlsym_driver_name
  mov w17, w0
  ldr x16, [sp, #32]
  ldp x0, x1, [sp, #16]
  ldp x29, x30, [sp], #48
  cbz w17, 1b
  mov x0, x16
  ret
  .size dlsym, . - dlsym

#endif
  .section .note.GNU-stack, "", %progbits
