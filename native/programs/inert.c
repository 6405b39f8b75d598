// SPDX-License-Identifier: Apache-2.0
// inert: a program that has nothing to do with GPUs. Prints all that a preloaded object could have changed in it; the same lines with and
// without. Built for glibc, musl, statically and for 32 bits (inert, inert-musl, inert-musl-static, inert-static, inert-32).
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

static int entries(const char *path) {
  DIR *folder = opendir(path);
  int count = 0;
  if (!folder) return -1;
  while (readdir(folder)) count++;
  closedir(folder);
  return count;
}

int main(void) {
  int handlers = 0, blocked = 0, variables = 0;
  sigset_t mask;
  for (int number = 1; number < NSIG; number++) {
    struct sigaction action;
    if (sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN) handlers++;
  }
  sigprocmask(SIG_BLOCK, NULL, &mask);
  for (int number = 1; number < NSIG; number++) blocked += sigismember(&mask, number) == 1;
  for (char **variable = environ; *variable; variable++)
    variables += strncmp(*variable, "LD_PRELOAD=", 11) != 0 && strncmp(*variable, "_=", 2) != 0;
  mode_t mode = umask(022);
  void *memory = malloc(1 << 22);
  printf("threads %d descriptors %d handlers %d blocked %d umask %o variables %d memory %s\n", entries("/proc/self/task") - 2,
         entries("/proc/self/fd") - 3, handlers, blocked, (unsigned)mode, variables, memory ? "there" : "none");
  free(memory);
  return 0;
}
