// SPDX-License-Identifier: Apache-2.0
// holder HOW BYTES: takes that much of device 0, does what HOW says, prints `ready PID RESULT`, and waits for the end of standard input.
//   plain         nothing more
//   close-all     closes every descriptor but the three standard ones
//   become        executes cat: the process stays, what it had on the GPU is gone
//   child         forks; the parent ends, the child (which never touches the driver) waits
//   fork-exec     forks; the child executes this program again and holds as much itself; its line comes first
//   zombie        a child takes the bytes and ends; nobody waits for it
//   leader-gone   another thread waits; the first thread ends
//   privileges    gives up root, where it has it
//   many N        N children hold BYTES each; `ready` tells how many were granted. A letter on standard input: every other one ends, is
//                 replaced, and a second line follows
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "programs/driver-calls.h"

enum { MANY = 512 };

static const char *self;
static uint64_t bytes;

static int take(void) {
  uint64_t address;
  driver_start();
  return cu.alloc(&address, bytes);
}

static void tell(int pid, int result) {
  char line[64];
  int size = snprintf(line, sizeof line, "ready %d %d\n", pid, result);
  if (write(1, line, (size_t)size) != size) _exit(70);
}

static void wait_for_end(void) {
  char letter;
  while (read(0, &letter, 1) > 0) continue;
}

static void *wait_and_end(void *nothing) {
  wait_for_end();
  _exit(0);
  return nothing;
}

static void close_all(void) {
  for (int fd = 3; fd < 4096; fd++) close(fd);
}

static void as_child(void) {
  int result = take();
  if (fork()) _exit(0);
  tell(getpid(), result);
}

static void fork_exec(void) {
  char text[32];
  int result = take();
  int line[2];
  if (pipe(line)) _exit(70);
  snprintf(text, sizeof text, "%llu", (unsigned long long)bytes);
  pid_t child = fork();
  if (child == 0) {
    dup2(line[1], 1);
    close(line[0]), close(line[1]);
    execl(self, self, "plain", text, (char *)NULL);
    _exit(71);
  }
  char said[64] = {0};
  if (read(line[0], said, sizeof said - 1) <= 0) _exit(70);
  dprintf(1, "%s", said);
  tell(getpid(), result);
}

static void zombie(void) {
  int line[2];
  char result = 99;
  if (pipe(line)) _exit(70);
  pid_t child = fork();
  if (child == 0) {
    char got = (char)take();
    if (write(line[1], &got, 1) != 1) _exit(70);
    _exit(0);
  }
  if (read(line[0], &result, 1) != 1) _exit(70);
  siginfo_t info;
  waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT); // it has ended; it stays a zombie
  tell(child, result);
}

/** A child that holds the bytes until it is killed; it does not outlive us. */
static pid_t start_one(int *granted) {
  int line[2];
  char result = 99;
  if (pipe(line)) _exit(70);
  pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    result = (char)take();
    if (write(line[1], &result, 1) != 1) _exit(70);
    for (;;) pause();
  }
  if (read(line[0], &result, 1) != 1) _exit(70);
  close(line[0]), close(line[1]);
  *granted += result == GRANTED;
  return child;
}

static void many(int number) {
  static pid_t children[MANY];
  int granted = 0;
  char letter;
  if (number > MANY) _exit(64);
  for (int i = 0; i < number; i++) children[i] = start_one(&granted);
  tell(getpid(), granted);
  if (read(0, &letter, 1) == 1) {
    granted = 0;
    for (int i = 0; i < number; i += 2) {
      kill(children[i], SIGKILL);
      waitpid(children[i], NULL, 0);
    }
    for (int i = 0; i < number; i += 2) children[i] = start_one(&granted);
    tell(getpid(), granted);
    wait_for_end();
  }
  for (int i = 0; i < number; i++) kill(children[i], SIGKILL);
  for (int i = 0; i < number; i++) waitpid(children[i], NULL, 0);
}

static void leader_gone(void) {
  pthread_t thread;
  tell(getpid(), take());
  if (pthread_create(&thread, NULL, wait_and_end, NULL)) _exit(70);
  pthread_exit(NULL);
}

static int hold(const char *how, int number) {
  if (!strcmp(how, "many")) many(number);
  else if (!strcmp(how, "zombie")) zombie();
  else if (!strcmp(how, "fork-exec")) fork_exec();
  else if (!strcmp(how, "child")) as_child();
  else if (!strcmp(how, "leader-gone")) leader_gone();
  else tell(getpid(), take());
  if (!strcmp(how, "close-all")) close_all();
  if (!strcmp(how, "privileges") && (setgid(65534) || setuid(65534))) return 70;
  if (!strcmp(how, "become")) execlp("cat", "cat", (char *)NULL);
  if (strcmp(how, "many") != 0) wait_for_end();
  return 0;
}

int main(int count, char **arguments) {
  if (count < 3) return 64;
  self = arguments[0];
  bytes = strtoull(arguments[2], NULL, 10);
  return hold(arguments[1], count > 3 ? atoi(arguments[3]) : 0);
}
