# SPDX-License-Identifier: Apache-2.0
"""A PyTorch program inside a slice. Reads one command a line from standard input, answers one line of JSON to each.

ready | fill | hold BYTES | drop | work | graph | report | exit
"""

import json
import sys

import torch

BLOCK = 256 << 20
held: list[torch.Tensor] = []


def report() -> dict:
    torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info()
    return {
        "free": free,
        "total": total,
        "props": torch.cuda.get_device_properties(0).total_memory,
        "allocated": torch.cuda.memory_allocated(),
        "reserved": torch.cuda.memory_reserved(),
    }


def work() -> dict:
    """Kernels of all sorts, so that what is loaded lazily is loaded, and that the answers are right."""
    x = torch.arange(1 << 20, dtype=torch.float32, device="cuda")
    total = float((x + 1).double().sum())
    a = torch.eye(512, device="cuda") * 2
    product = float((a @ a).trace())
    return {"right": total == (1 << 19) * ((1 << 20) + 1.0) and product == 4.0 * 512}


def hold(size: int) -> dict:
    try:
        held.append(torch.zeros(size, dtype=torch.uint8, device="cuda"))
        torch.cuda.synchronize()
    except torch.OutOfMemoryError as error:
        return {"oom": str(error).splitlines()[0]}
    return {"oom": None}


def fill() -> dict:
    """Blocks until there is no room: the error is the one that programs catch, and the process goes on."""
    before = len(held)
    while True:
        answer = hold(BLOCK)
        if answer["oom"]:
            return {"oom": answer["oom"], "blocks": len(held) - before, **report(), "works": work()["right"]}
        if len(held) > 4096:
            return {"oom": None, "blocks": len(held)}


def graph() -> dict:
    """A captured graph with memory of its own (a private pool of the allocator)."""
    stream = torch.cuda.Stream()
    x = torch.ones(1 << 20, device="cuda")
    with torch.cuda.stream(stream):
        for _ in range(3):
            y = (x * 2).relu() + 1
    torch.cuda.current_stream().wait_stream(stream)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        y = (x * 2).relu() + 1
    x.fill_(3)
    captured.replay()
    torch.cuda.synchronize()
    return {"right": float(y[0]) == 7.0}


def drop() -> dict:
    held.clear()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    return report()


def answer(words: list[str]) -> dict:
    match words[0]:
        case "ready":
            return {"torch": torch.__version__, "device": torch.cuda.get_device_name(0), **work()}
        case "fill":
            return fill()
        case "hold":
            return hold(int(words[1]))
        case "drop":
            return drop()
        case "work":
            return work()
        case "graph":
            return graph()
        case "report":
            return report()
    raise SystemExit(f"no such command: {words[0]}")


for line in sys.stdin:
    if line.strip() == "exit":
        break
    print(json.dumps(answer(line.split())), flush=True)
