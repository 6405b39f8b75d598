// SPDX-License-Identifier: Apache-2.0
// entry-look-ups FUNCTION NAME:VERSION:FLAGS...: asks FUNCTION (cuGetProcAddress, cuGetProcAddress_v2, cuGetProcAddress_v2_ptsz, or dlsym) for
// each and prints what came back: status, symbol status, the exported name that the address has, and the object it lies in.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long long u64;

int main(int argc, char **argv) {
  void *driver = dlopen("libcuda.so.1", RTLD_NOW);
  if (!driver || argc < 3) return 70;
  int four = !strcmp(argv[1], "cuGetProcAddress"), plain = !strcmp(argv[1], "dlsym");
  int (*v1)(const char *, void **, int, u64) = NULL;
  int (*v2)(const char *, void **, int, u64, int *) = NULL;
  if (four) *(void **)&v1 = dlsym(driver, argv[1]);
  else if (!plain) *(void **)&v2 = dlsym(driver, argv[1]);
  if (!plain && !v1 && !v2) return 71;
  for (int i = 2; i < argc; i++) {
    char name[128] = "";
    int version = 0, status = -1;
    u64 flags = 0;
    void *found = (void *)1;
    sscanf(argv[i], "%127[^:]:%d:%llu", name, &version, &flags);
    dlerror();
    int result = plain ? !(found = dlsym(driver, name)) : four ? v1(name, &found, version, flags) : v2(name, &found, version, flags, &status);
    const char *why = dlerror();
    Dl_info info = {0};
    if (found && found != (void *)1) dladdr(found, &info);
    const char *file = info.dli_fname ? strrchr(info.dli_fname, '/') : NULL;
    printf("%s %d %d %s %s%s%s\n", argv[i], result, status, info.dli_sname ? info.dli_sname : found ? "?" : "-", file ? file + 1 : "-",
           plain && why ? " " : "", plain && why ? "dlerror" : "");
  }
  return 0;
}
