// SPDX-License-Identifier: Apache-2.0
// start-up RUNS PRELOAD PROGRAM: runs a program without and with LD_PRELOAD=PRELOAD, by turns, RUNS times each.
// Prints `without US with US quotient N`: medians of the time from its start to its end, and of the quotients of two runs next to each other.
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

enum { MAX_RUNS = 20000 };
static double times[2][MAX_RUNS], quotients[MAX_RUNS];

static double microseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static double run(char *program, char **environment, const posix_spawn_file_actions_t *quiet) {
  char *arguments[] = {program, NULL};
  pid_t child;
  int status;
  double start = microseconds();
  if (posix_spawn(&child, program, quiet, NULL, arguments, environment)) exit(70);
  if (waitpid(child, &status, 0) != child || status) exit(71);
  return microseconds() - start;
}

static int by_size(const void *a, const void *b) {
  double first = *(const double *)a, second = *(const double *)b;
  return (first > second) - (first < second);
}

int main(int count, char **arguments) {
  static char preload[8192];
  char *without[] = {NULL}, *within[] = {preload, NULL};
  if (count != 4) return 64;
  int runs = atoi(arguments[1]);
  if (runs < 1 || runs > MAX_RUNS) return 64;
  snprintf(preload, sizeof preload, "LD_PRELOAD=%s", arguments[2]);
  posix_spawn_file_actions_t quiet;
  posix_spawn_file_actions_init(&quiet);
  posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);
  for (int i = 0; i < runs; i++) {
    // Who is first changes: what a run leaves in the caches helps the next.
    for (int j = 0; j < 2; j++) times[(i + j) % 2][i] = run(arguments[3], (i + j) % 2 ? within : without, &quiet);
    quotients[i] = times[1][i] / times[0][i];
  }
  for (int i = 0; i < 2; i++) qsort(times[i], (size_t)runs, sizeof **times, by_size);
  qsort(quotients, (size_t)runs, sizeof *quotients, by_size);
  printf("without %.2f with %.2f quotient %.4f\n", times[0][runs / 2], times[1][runs / 2], quotients[runs / 2]);
  return 0;
}
