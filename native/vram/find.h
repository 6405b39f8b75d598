// SPDX-License-Identifier: Apache-2.0
// Finding a library that this object stands in for, as the loader would have: its own search path, ld.so.cache, the usual folders.
#pragma once
#include <link.h>

/**
 * Loads the real `name` ("libnvidia-ml.so.1") privately, by its absolute path: by its name the loader would give our own object.
 * `fits` says whether an object is the one looked for. NULL when there is none; dlerror() is left as it was where files are missing.
 */
struct link_map *find_library(const char *name, int (*fits)(const struct link_map *));
/** The same for a path that is known. */
struct link_map *open_library(const char *path, int (*fits)(const struct link_map *));
