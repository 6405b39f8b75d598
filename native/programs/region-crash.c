// SPDX-License-Identifier: Apache-2.0
// region-crash DIR LIMIT: DIR/../quota/limit says LIMIT. Kills a process that makes DIR/../region from it at the beginning and at the end of one of its
// system calls after another: nothing else that it does can be seen by anybody. After each kill there is no control page, or a whole region; and whoever
// comes next has LIMIT, and not a byte more. Prints `kills N nothing N ledger N whole N left N`: what lay there after each, and how many files of
// another name. Exit 1: a wrong answer.
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "programs/session.h"
#include "vram/ledger.h"

enum { FAR = 1000 };
static const char *directory;
SESSION_DIRECTORY(directory)

static char region[4096];
static uint64_t limit;
static unsigned nothing, alone, whole, left;

__attribute__((noreturn)) static void fail(int at, const char *what) {
  printf("killed at stop %d: %s\n", at, what);
  exit(1);
}

static int child_status(int at, int (*run)(void)) {
  pid_t pid = fork();
  if (pid < 0) die("fork");
  if (pid == 0) _exit(run());
  int status;
  if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) fail(at, "the next process did not end by itself");
  return WEXITSTATUS(status);
}

static int take_all(void) {
  if (ledger_open() != LEDGER_ON) return 1;
  if (ledger_reserve(0, limit)) return 2;
  if (!ledger_reserve(0, 1)) return 3;
  uint8_t uuid[16] = {[15] = 1};
  for (int i = 0; i <= (int)DEVICES; i++) {
    uuid[0] = (uint8_t)(i + 1);
    if (ledger_device(uuid, 0) != (i < (int)DEVICES ? i : LEDGER_UNLISTED)) return 4;
  }
  return 0;
}

/** 1: the process was killed at that stop; 0: it had ended before. */
static int kill_at(int at) {
  pid_t pid = fork();
  if (pid < 0) die("fork");
  if (pid == 0) {
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGSTOP);
    _exit(ledger_open() == LEDGER_ON ? 0 : 4);
  }
  int status;
  waitpid(pid, &status, 0);
  for (int stop = 0; stop < at; stop++) {
    if (!WIFSTOPPED(status)) fail(stop, "the process ended early");
    if (ptrace(PTRACE_SYSCALL, pid, 0, 0)) die("ptrace");
    waitpid(pid, &status, 0);
    if (!WIFEXITED(status)) continue;
    if (WEXITSTATUS(status)) fail(stop, "it found no region");
    return 0;
  }
  kill(pid, SIGKILL);
  waitpid(pid, &status, 0);
  return 1;
}

/** The first bytes of a file, or 0 where it is not there. */
static int head_of(int at, const char *name, void *head, size_t bytes, off_t size, mode_t mode) {
  char path[8192];
  struct stat stat;
  snprintf(path, sizeof path, "%s/%s", region, name);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) return 0;
  if (fd < 0 || fstat(fd, &stat) || stat.st_size != size || (stat.st_mode & 07777) != mode) fail(at, name);
  if (pread(fd, head, bytes, 0) != (ssize_t)bytes) fail(at, name);
  close(fd);
  return 1;
}

static void look(int at) {
  struct control control;
  struct ledger_header ledger;
  int has_control = head_of(at, "control", &control, sizeof control, CONTROL_SIZE, 0444);
  int has_ledger = head_of(at, "ledger", &ledger, sizeof ledger, LEDGER_SIZE, 0666);
  if (has_ledger && (ledger.magic != LEDGER_MAGIC || ledger.slots != SLOTS)) fail(at, "half a ledger");
  if (has_control && !has_ledger) fail(at, "a control page without a ledger");
  if (has_control && (control.magic != CONTROL_MAGIC || control.devices[DEVICES - 1].limit != limit)) fail(at, "half a control page");
  if (has_control && memcmp(control.session, ledger.session, sizeof control.session)) fail(at, "files of two sessions");
  nothing += !has_ledger;
  alone += has_ledger && !has_control;
  whole += has_ledger && has_control;
}

static void wipe(void) {
  DIR *folder = opendir(region);
  if (!folder) die(region);
  for (struct dirent *entry; (entry = readdir(folder));) {
    if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
    left += strcmp(entry->d_name, "control") && strcmp(entry->d_name, "ledger");
    unlinkat(dirfd(folder), entry->d_name, 0);
  }
  closedir(folder);
}

int main(int count, char **arguments) {
  if (count != 3) return 64;
  directory = arguments[1];
  limit = strtoull(arguments[2], NULL, 10);
  snprintf(region, sizeof region, "%s/../region", directory);
  int kills = 0;
  for (int at = 1; kill_at(at); at++, kills++) {
    if (at > FAR) fail(at, "it has no end");
    look(at);
    int wrong = child_status(at, take_all);
    if (wrong) fail(at, (const char *[]){"", "no region", "what fits is denied", "a byte above the limit", "the devices"}[wrong & 7]);
    wipe();
  }
  printf("kills %d nothing %u ledger %u whole %u left %u\n", kills, nothing, alone, whole, left);
  return 0;
}
