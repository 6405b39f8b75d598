// SPDX-License-Identifier: Apache-2.0
// Memory that goes by the quota: nodes of graphs (they allocate when the graph runs) and memory of other APIs. It passes through and is counted
// in the region, for status, metrics and whoever compares with NVML.
#include "hooks.h"
#include "layout.gen.h"

#define NODE_MEM_ALLOC 10 // CUgraphNodeType

struct alloc_node { // CUDA_MEM_ALLOC_NODE_PARAMS
  int type, handles, location, id;
  uint8_t rest_of_pool[72];
  const void *access;
  size_t access_count, bytes;
  CUdeviceptr address;
};
_Static_assert(offsetof(struct alloc_node, bytes) == 104, "CUDA_MEM_ALLOC_NODE_PARAMS.bytesize");
struct graph_node { // CUgraphNodeParams
  int type, reserved[3];
  struct alloc_node alloc;
};
struct external_memory { // CUDA_EXTERNAL_MEMORY_HANDLE_DESC
  int type, pad;
  uint64_t handle[2], bytes;
};

CUresult hook_cuGraphAddMemAllocNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *after, size_t count, struct alloc_node *params);
CUresult hook_cuGraphAddNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *after, size_t count, struct graph_node *params);
CUresult hook_cuGraphAddNode_v2(CUgraphNode *node, CUgraph graph, const CUgraphNode *after, const void *edges, size_t count,
                                struct graph_node *params);
CUresult hook_cuImportExternalMemory(CUexternalMemory *memory, const struct external_memory *description);

static CUresult count_node(CUresult result, const struct alloc_node *node) {
  if (result == CUDA_SUCCESS && quota_active()) ledger_unaccounted(device_index(node->id), (int)UNACCOUNTED_GRAPH, node->bytes);
  return result;
}

CUresult hook_cuGraphAddMemAllocNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *after, size_t count, struct alloc_node *params) {
  return count_node(NEXT(cuGraphAddMemAllocNode)(node, graph, after, count, params), params);
}

CUresult hook_cuGraphAddNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *after, size_t count, struct graph_node *params) {
  CUresult result = NEXT(cuGraphAddNode)(node, graph, after, count, params);
  return result == CUDA_SUCCESS && params->type == NODE_MEM_ALLOC ? count_node(result, &params->alloc) : result;
}

CUresult hook_cuGraphAddNode_v2(CUgraphNode *node, CUgraph graph, const CUgraphNode *after, const void *edges, size_t count,
                                struct graph_node *params) {
  CUresult result = NEXT(cuGraphAddNode_v2)(node, graph, after, edges, count, params);
  return result == CUDA_SUCCESS && params->type == NODE_MEM_ALLOC ? count_node(result, &params->alloc) : result;
}

CUresult hook_cuImportExternalMemory(CUexternalMemory *memory, const struct external_memory *description) {
  CUresult result = NEXT(cuImportExternalMemory)(memory, description);
  struct whose place;
  if (result == CUDA_SUCCESS && quota_active() && place_current(&place)) {
    ledger_unaccounted(place.device, (int)UNACCOUNTED_EXTERNAL, description->bytes);
  }
  return result;
}
