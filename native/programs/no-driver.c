// SPDX-License-Identifier: Apache-2.0
// A program that has nothing to do with CUDA but looks names up: ordinary ones, ones that begin like the driver's, and missing ones. Prints
// what dlsym and dlerror answer; the same with and without a preloaded object.
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

int cuMine(void);
int cuMine(void) { return 1; }

static void ask(void *handle, const char *name) {
  dlerror();
  void *found = dlsym(handle, name);
  const char *why = dlerror();
  printf("%s %s %s\n", name, found ? "found" : "missing", why && strstr(why, "undefined symbol") ? "undefined" : why ? why : "-");
}

int main(void) {
  void *self = dlopen(NULL, RTLD_NOW);
  const char *names[] = {"curl_easy_init", "cu", "c", "", "cublasCreate", "cudaMalloc", "printf", "cu_Init", "cuddle", "getenv", "cuMine", "cuNobodys"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    ask(RTLD_DEFAULT, names[i]);
    ask(self, names[i]);
    ask(RTLD_NEXT, names[i]);
  }
  void *versioned = dlvsym(RTLD_DEFAULT, "dlsym", "GLIBC_2.2.5");
  printf("dlvsym %s\n", versioned ? "found" : "missing");
  char line[4096];
  int loaded = 0;
  FILE *maps = fopen("/proc/self/maps", "r");
  while (maps && fgets(line, sizeof line, maps)) loaded |= strstr(line, "/libcuda.so") != NULL;
  printf("driver %s\n", loaded ? "loaded" : "absent");
  return 0;
}
