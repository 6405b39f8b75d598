// SPDX-License-Identifier: Apache-2.0
// Memory pools, between the entry points (hooks_async.c) and the accounts (hooks_pool.c).
#pragma once
#include "hooks.h"

enum { LOCATION_DEVICE = 1, LOCATION_DEVICE_DOMAIN = 6 }; // CUmemLocationType; the others are host memory

// CUmemPoolProps, as far as it tells where the pool lies.
struct pool_properties {
  int type, handles, location, id;
};

struct pool_request {
  CUdeviceptr *address;
  size_t bytes;
  CUmemoryPool pool;
  CUstream stream;
  int named, per_thread;
  CUresult (*call)(struct pool_request *);
  void (*undo)(struct pool_request *);
};

CUresult pool_alloc(struct pool_request *request);
CUresult pool_free(CUdeviceptr address, CUstream stream, int per_thread, CUresult (*call)(CUdeviceptr, CUstream));
CUresult pool_trim(CUmemoryPool pool, size_t keep, CUresult (*trim)(CUmemoryPool, size_t));
CUresult pool_set(CUmemoryPool pool, int which, void *value, CUresult (*set)(CUmemoryPool, int, void *));
CUresult pool_destroy(CUmemoryPool pool, CUresult (*destroy)(CUmemoryPool));
// A pool was created or asked for there; one that another process exported.
void pool_learn(CUmemoryPool pool, int location, int id, int type);
void pool_learn_foreign(CUmemoryPool pool);
int stream_is_capturing(CUstream stream, int per_thread);
