// SPDX-License-Identifier: Apache-2.0
// Graphs, as far as memory goes: allocation nodes take addresses when they are made and memory when the graph is first uploaded
// or launched; that memory stays with the device's graph pool until it is trimmed.
#include "fake.h"

#include <stdlib.h>
#include <string.h>

struct node {
  struct graph *graph;
  struct node *next;
  uint64_t handle;
  int type, device;
  uint64_t bytes;
  CUdeviceptr address;
};
struct graph {
  struct node *first;
  uint64_t handle;
};
struct exec {
  int device;
  uint64_t bytes; /* of one run */
  uint64_t left;  /* of these, what no node of the graph frees */
  uint64_t live;  /* what the last run left and nobody has freed since */
};
static struct graph_memory {
  uint64_t reserved, reserved_high, used, used_high;
} memory[MAX_DEVICES];

static struct graph *graph_of(CUgraph handle) { return object_get((uintptr_t)handle, OBJECT_GRAPH); }

struct graph *graph_new(uint64_t *handle) {
  struct graph *graph = calloc(1, sizeof *graph);
  if (graph) *handle = graph->handle = object_new(OBJECT_GRAPH, graph);
  return graph;
}

static struct node *add(struct graph *graph, int type) {
  struct node *node = calloc(1, sizeof *node);
  if (!node) return NULL;
  *node = (struct node){.graph = graph, .next = graph->first, .handle = object_new(OBJECT_NODE, node), .type = type};
  graph->first = node;
  return node;
}

/* ---- the lock is held ---- */
CUresult graph_capture_alloc(struct graph *graph, int device, uint64_t bytes, CUdeviceptr *address) {
  if (!bytes) return CUDA_ERROR_INVALID_VALUE;
  struct node *node = add(graph, CU_GRAPH_NODE_TYPE_MEM_ALLOC);
  if (!node) return CUDA_ERROR_OUT_OF_MEMORY;
  node->device = device;
  node->bytes = round_up(bytes, 2u << 20);
  node->address = block_new(NULL, device, BLOCK_GRAPH, bytes, 0, NULL);
  *address = node->address;
  return node->address ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult graph_capture_free(struct graph *graph, CUdeviceptr address) {
  CUdeviceptr base;
  struct block *block = block_of(address, &base);
  if (!block || base != address || atomic_load(&block->kind) != BLOCK_GRAPH) return CUDA_ERROR_INVALID_VALUE;
  struct node *node = add(graph, CU_GRAPH_NODE_TYPE_MEM_FREE);
  if (!node) return CUDA_ERROR_OUT_OF_MEMORY;
  node->address = address;
  node->device = block->device;
  node->bytes = round_up(block->size, 2u << 20);
  return CUDA_SUCCESS;
}

static uint64_t max(uint64_t a, uint64_t b) { return a > b ? a : b; }

static CUresult bring(const struct exec *exec) {
  struct graph_memory *of = &memory[exec->device];
  uint64_t need = of->used + exec->bytes;
  if (need > of->reserved) {
    if (!card_take(exec->device, need - of->reserved)) return CUDA_ERROR_OUT_OF_MEMORY;
    of->reserved = need;
    of->reserved_high = max(of->reserved_high, need);
  }
  of->used_high = max(of->used_high, need);
  return CUDA_SUCCESS;
}

CUresult graph_free_now(CUdeviceptr base, struct block *block) {
  (void)base;
  pthread_mutex_lock(&fake_lock);
  uint64_t bytes = round_up(block->size, 2u << 20);
  struct graph_memory *of = &memory[block->device];
  bool live = of->used >= bytes;
  if (live) of->used -= bytes;
  uint32_t at = 0;
  uint64_t handle;
  for (struct exec *exec; live && (exec = object_next(OBJECT_EXEC, &at, &handle));) {
    if (exec->device != block->device || exec->live < bytes) continue;
    exec->live -= bytes;
    break;
  }
  pthread_mutex_unlock(&fake_lock);
  return live ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static CUresult instantiate(CUgraphExec *out, CUgraph handle) {
  struct exec *exec = calloc(1, sizeof *exec);
  CUresult result = exec ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_OUT_OF_MEMORY;
  pthread_mutex_lock(&fake_lock);
  struct graph *graph = graph_of(handle);
  if (exec && graph && out) {
    uint64_t freed = 0;
    for (struct node *node = graph->first; node; node = node->next) {
      if (node->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC) exec->bytes += node->bytes, exec->device = node->device;
      if (node->type == CU_GRAPH_NODE_TYPE_MEM_FREE) freed += node->bytes;
    }
    exec->left = exec->bytes > freed ? exec->bytes - freed : 0;
    *out = (CUgraphExec)(uintptr_t)object_new(OBJECT_EXEC, exec);
    result = CUDA_SUCCESS;
  }
  pthread_mutex_unlock(&fake_lock);
  if (result) free(exec);
  return result;
}

API CUresult cuGraphCreate(CUgraph *out, unsigned int flags) {
  ENTER();
  if (!out || flags) return CUDA_ERROR_INVALID_VALUE;
  uint64_t handle = 0;
  LOCKED(graph_new(&handle));
  *out = (CUgraph)(uintptr_t)handle;
  return handle ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
API CUresult cuGraphDestroy(CUgraph handle) {
  ENTER();
  pthread_mutex_lock(&fake_lock);
  struct graph *graph = graph_of(handle);
  if (graph) object_drop((uintptr_t)handle);
  while (graph && graph->first) {
    struct node *node = graph->first;
    graph->first = node->next;
    object_drop(node->handle);
    free(node);
  }
  pthread_mutex_unlock(&fake_lock);
  free(graph);
  return graph ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static CUresult add_node(CUgraphNode *out, CUgraph handle, CUgraphNodeParams *parameters) {
  CUresult result = CUDA_ERROR_INVALID_VALUE;
  if (!out || !parameters) return result;
  pthread_mutex_lock(&fake_lock);
  struct graph *graph = graph_of(handle);
  if (graph && parameters->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC) {
    CUDA_MEM_ALLOC_NODE_PARAMS *alloc = &parameters->of.alloc;
    int device = alloc->poolProps.location.id;
    if (device >= 0 && device < knobs.devices) result = graph_capture_alloc(graph, device, alloc->bytesize, &alloc->dptr);
  } else if (graph && parameters->type == CU_GRAPH_NODE_TYPE_MEM_FREE) {
    result = graph_capture_free(graph, parameters->of.free.dptr);
  } else if (graph) {
    result = add(graph, parameters->type) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
  }
  if (!result) *out = (CUgraphNode)(uintptr_t)graph->first->handle;
  pthread_mutex_unlock(&fake_lock);
  return result;
}
API CUresult cuGraphAddNode(CUgraphNode *out, CUgraph graph, const CUgraphNode *after, size_t count, CUgraphNodeParams *parameters) {
  ENTER();
  (void)after, (void)count;
  return add_node(out, graph, parameters);
}
API CUresult cuGraphAddNode_v2(CUgraphNode *out, CUgraph graph, const CUgraphNode *after, const void *edges, size_t count,
                               CUgraphNodeParams *parameters) {
  ENTER();
  (void)after, (void)edges, (void)count;
  return add_node(out, graph, parameters);
}
API CUresult cuGraphAddEmptyNode(CUgraphNode *out, CUgraph graph, const CUgraphNode *after, size_t count) {
  ENTER();
  (void)after, (void)count;
  return add_node(out, graph, &(CUgraphNodeParams){.type = CU_GRAPH_NODE_TYPE_EMPTY});
}
API CUresult cuGraphAddMemAllocNode(CUgraphNode *out, CUgraph graph, const CUgraphNode *after, size_t count,
                                    CUDA_MEM_ALLOC_NODE_PARAMS *alloc) {
  ENTER();
  (void)after, (void)count;
  if (!alloc) return CUDA_ERROR_INVALID_VALUE;
  CUgraphNodeParams parameters = {.type = CU_GRAPH_NODE_TYPE_MEM_ALLOC};
  parameters.of.alloc = *alloc;
  CUresult result = add_node(out, graph, &parameters);
  alloc->dptr = parameters.of.alloc.dptr;
  return result;
}
API CUresult cuGraphAddMemFreeNode(CUgraphNode *out, CUgraph graph, const CUgraphNode *after, size_t count, CUdeviceptr address) {
  ENTER();
  (void)after, (void)count;
  CUgraphNodeParams parameters = {.type = CU_GRAPH_NODE_TYPE_MEM_FREE};
  parameters.of.free.dptr = address;
  return add_node(out, graph, &parameters);
}

API CUresult cuGraphInstantiate(CUgraphExec *out, CUgraph graph, CUgraphNode *bad, char *log, size_t room) {
  ENTER();
  (void)bad, (void)log, (void)room;
  return instantiate(out, graph);
}
API CUresult cuGraphInstantiate_v2(CUgraphExec *out, CUgraph graph, CUgraphNode *bad, char *log, size_t room) {
  ENTER();
  (void)bad, (void)log, (void)room;
  return instantiate(out, graph);
}
API CUresult cuGraphInstantiateWithFlags(CUgraphExec *out, CUgraph graph, unsigned long long flags) {
  ENTER();
  (void)flags;
  return instantiate(out, graph);
}
static CUresult with_parameters(CUgraphExec *out, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS *parameters) {
  if (!parameters) return CUDA_ERROR_INVALID_VALUE;
  CUresult result = instantiate(out, graph);
  parameters->result_out = result ? 1 : 0;
  return result;
}
API CUresult cuGraphInstantiateWithParams(CUgraphExec *out, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS *parameters) {
  ENTER();
  return with_parameters(out, graph, parameters);
}
API CUresult cuGraphInstantiateWithParams_ptsz(CUgraphExec *out, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS *parameters) {
  ENTER();
  return with_parameters(out, graph, parameters);
}

static CUresult run(CUgraphExec handle, bool launch) {
  CUresult result = CUDA_ERROR_INVALID_VALUE;
  pthread_mutex_lock(&fake_lock);
  struct exec *exec = object_get((uintptr_t)handle, OBJECT_EXEC);
  /* What the last run left has to be freed before the next. */
  if (exec && !(launch && exec->live)) result = bring(exec);
  if (exec && launch && !result) {
    memory[exec->device].used += exec->left;
    exec->live = exec->left;
  }
  pthread_mutex_unlock(&fake_lock);
  return result;
}
API CUresult cuGraphUpload(CUgraphExec exec, CUstream stream) {
  ENTER();
  (void)stream;
  return run(exec, false);
}
API CUresult cuGraphUpload_ptsz(CUgraphExec exec, CUstream stream) {
  ENTER();
  (void)stream;
  return run(exec, false);
}
API CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream) {
  ENTER();
  (void)stream;
  return run(exec, true);
}
API CUresult cuGraphLaunch_ptsz(CUgraphExec exec, CUstream stream) {
  ENTER();
  (void)stream;
  return run(exec, true);
}
API CUresult cuGraphExecDestroy(CUgraphExec handle) {
  ENTER();
  pthread_mutex_lock(&fake_lock);
  struct exec *exec = object_get((uintptr_t)handle, OBJECT_EXEC);
  if (exec) object_drop((uintptr_t)handle);
  pthread_mutex_unlock(&fake_lock);
  free(exec);
  return exec ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
API CUresult cuDeviceGetGraphMemAttribute(CUdevice device, int attribute, void *value) {
  ENTER();
  if (device < 0 || device >= knobs.devices) return CUDA_ERROR_INVALID_DEVICE;
  if (!value || attribute < 0 || attribute > CU_GRAPH_MEM_ATTR_RESERVED_MEM_HIGH) return CUDA_ERROR_INVALID_VALUE;
  pthread_mutex_lock(&fake_lock);
  const struct graph_memory *of = &memory[device];
  const uint64_t numbers[] = {of->used, of->used_high, of->reserved, of->reserved_high};
  memcpy(value, &numbers[attribute], sizeof *numbers);
  pthread_mutex_unlock(&fake_lock);
  return CUDA_SUCCESS;
}
API CUresult cuDeviceGraphMemTrim(CUdevice device) {
  ENTER();
  if (device < 0 || device >= knobs.devices) return CUDA_ERROR_INVALID_DEVICE;
  pthread_mutex_lock(&fake_lock);
  struct graph_memory *of = &memory[device];
  if (of->reserved > of->used) {
    card_give(device, of->reserved - of->used);
    of->reserved = of->used;
  }
  pthread_mutex_unlock(&fake_lock);
  return CUDA_SUCCESS;
}
