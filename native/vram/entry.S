// SPDX-License-Identifier: Apache-2.0
// The two places where C would change what the callee sees: binding a trampoline at its first call, and the dlsym filter, which must jump
// (not call) into the real dlsym, since that one looks at its return address to find the caller for RTLD_NEXT and RTLD_DEFAULT.
  .text

  .hidden vram_real
  .hidden vram_gate
  .hidden vram_real_dlsym
  .hidden driver_bind
  .hidden dlsym_find_real
  .hidden dlsym_driver_name

#if defined(__x86_64__)

  .globl vram_bind
  .hidden vram_bind
  .type vram_bind, @function
// eax: index. Every argument register is kept: some entry points take floats.
vram_bind:
  .cfi_startproc
  push %rbp
  .cfi_adjust_cfa_offset 8
  mov %rsp, %rbp
  .cfi_def_cfa_register %rbp
  and $-16, %rsp
  sub $192, %rsp
  mov %rdi, 0(%rsp)
  mov %rsi, 8(%rsp)
  mov %rdx, 16(%rsp)
  mov %rcx, 24(%rsp)
  mov %r8, 32(%rsp)
  mov %r9, 40(%rsp)
  movups %xmm0, 48(%rsp)
  movups %xmm1, 64(%rsp)
  movups %xmm2, 80(%rsp)
  movups %xmm3, 96(%rsp)
  movups %xmm4, 112(%rsp)
  movups %xmm5, 128(%rsp)
  movups %xmm6, 144(%rsp)
  movups %xmm7, 160(%rsp)
  mov %eax, %edi
  call driver_bind
  mov 0(%rsp), %rdi
  mov 8(%rsp), %rsi
  mov 16(%rsp), %rdx
  mov 24(%rsp), %rcx
  mov 32(%rsp), %r8
  mov 40(%rsp), %r9
  movups 48(%rsp), %xmm0
  movups 64(%rsp), %xmm1
  movups 80(%rsp), %xmm2
  movups 96(%rsp), %xmm3
  movups 112(%rsp), %xmm4
  movups 128(%rsp), %xmm5
  movups 144(%rsp), %xmm6
  movups 160(%rsp), %xmm7
  mov %rbp, %rsp
  pop %rbp
  .cfi_def_cfa %rsp, 8
  jmp *%rax
  .cfi_endproc
  .size vram_bind, . - vram_bind

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

  .globl vram_bind
  .hidden vram_bind
  .type vram_bind, %function
// w16: index. x8 (large results) and every argument register are kept.
vram_bind:
  stp x29, x30, [sp, #-224]!
  mov x29, sp
  stp x0, x1, [sp, #16]
  stp x2, x3, [sp, #32]
  stp x4, x5, [sp, #48]
  stp x6, x7, [sp, #64]
  str x8, [sp, #80]
  stp q0, q1, [sp, #96]
  stp q2, q3, [sp, #128]
  stp q4, q5, [sp, #160]
  stp q6, q7, [sp, #192]
  mov w0, w16
  bl driver_bind
  mov x16, x0
  ldp x0, x1, [sp, #16]
  ldp x2, x3, [sp, #32]
  ldp x4, x5, [sp, #48]
  ldp x6, x7, [sp, #64]
  ldr x8, [sp, #80]
  ldp q0, q1, [sp, #96]
  ldp q2, q3, [sp, #128]
  ldp q4, q5, [sp, #160]
  ldp q6, q7, [sp, #192]
  ldp x29, x30, [sp], #224
  br x16
  .size vram_bind, . - vram_bind

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
