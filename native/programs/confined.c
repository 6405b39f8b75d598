// SPDX-License-Identifier: Apache-2.0
// confined WHAT PROGRAM ARG...: starts a program under a filter that refuses system calls, as a sandbox does.
//   clone    no new threads or processes (EPERM; clone3: ENOSYS, so that libraries fall back)
//   wipe     MADV_WIPEONFORK, as kernels before 4.14 (EINVAL)
//   tmpfile  files without a name, as file systems that have none (EOPNOTSUPP)
//   modern   what old filters do not know (close_range, clone3, faccessat2: ENOSYS)
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define REFUSE(number, error)                              \
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (error))
#define CALL BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

#define WIPE_ON_FORK 18 // MADV_WIPEONFORK
#define NAMELESS 020000000 // O_TMPFILE without O_DIRECTORY

int main(int count, char **arguments) {
  struct sock_filter clone[] = {CALL, REFUSE(SYS_clone, EPERM), REFUSE(SYS_clone3, ENOSYS), ALLOW};
  struct sock_filter modern[] = {CALL, REFUSE(SYS_close_range, ENOSYS), REFUSE(SYS_clone3, ENOSYS), REFUSE(SYS_faccessat2, ENOSYS), ALLOW};
  struct sock_filter wipe[] = {CALL, BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])), REFUSE(WIPE_ON_FORK, EINVAL), ALLOW};
  struct sock_filter tmpfile[] = {CALL, BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 3),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, NAMELESS, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EOPNOTSUPP), ALLOW};
  if (count < 3) return 64;
  struct sock_fprog filter = {sizeof clone / sizeof *clone, clone};
  if (!strcmp(arguments[1], "modern")) filter = (struct sock_fprog){sizeof modern / sizeof *modern, modern};
  else if (!strcmp(arguments[1], "wipe")) filter = (struct sock_fprog){sizeof wipe / sizeof *wipe, wipe};
  else if (!strcmp(arguments[1], "tmpfile")) filter = (struct sock_fprog){sizeof tmpfile / sizeof *tmpfile, tmpfile};
  else if (strcmp(arguments[1], "clone") != 0) return 64;
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter)) return 71;
  execv(arguments[2], arguments + 2);
  perror(arguments[2]);
  return 72;
}
