// SPDX-License-Identifier: Apache-2.0
// driver-host FLAGS PLUGIN ARG...: opens a plugin that is linked to the driver (driver-plugin.so) and lets it do the steps of driver-steps.
// FLAGS: any of "deep" (RTLD_DEEPBIND), "global", "lazy", joined by commas.
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
  if (argc < 4) return 64;
  int flags = strstr(argv[1], "lazy") ? RTLD_LAZY : RTLD_NOW;
  if (strstr(argv[1], "deep")) flags |= RTLD_DEEPBIND;
  if (strstr(argv[1], "global")) flags |= RTLD_GLOBAL;
  void *plugin = dlopen(argv[2], flags);
  int (*steps)(int, char **) = NULL;
  if (plugin) *(void **)&steps = dlsym(plugin, "driver_steps");
  if (!steps) {
    fprintf(stderr, "driver-host: %s\n", dlerror());
    return 70;
  }
  return steps(argc - 2, argv + 2);
}
