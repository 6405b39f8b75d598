# SPDX-License-Identifier: Apache-2.0
"""T5, `make gpu-test`: the objects of dist/native against a real driver. Needs a GPU, its driver, Python 3.10 and PyTorch; no
network, no Node. One line for each check; what the machine lacks is said and counts as failed, but for the vendor's headers."""

import os
import shutil
import site
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from card import Card, NoCard, first_card
from slice import PROGRAMS, Child, Slice

MIB, GIB = 1 << 20, 1 << 30
ROOT = Path(__file__).resolve().parents[2]
OOM = "cudaErrorMemoryAllocation"
LEAST_FREE = 3 * GIB
ALLOCATORS = {
    "caching allocator": "",
    "expandable_segments": "expandable_segments:True",
    "cudaMallocAsync": "backend:cudaMallocAsync",
}


def expect(what: str, holds: bool, *seen: object) -> None:
    if not holds:
        raise AssertionError(f"{what}: {' '.join(map(str, seen))}")


def numbers(line: str) -> dict[str, int]:
    """'… free 1 total 2' -> {'free': 1, 'total': 2}"""
    words = line.split()
    return {words[i]: int(words[i + 1]) for i in range(len(words) - 1) if words[i + 1].isdigit() and not words[i].isdigit()}


def runtime_steps(program: Path, where: Slice, limit: int) -> None:
    """Every kind of memory is charged at least what was asked for, refused over the quota, and comes back in full."""
    kinds = [
        f"malloc:{300 * MIB}", f"managed:{100 * MIB}", "pitch:1000:1000", "cube:100:100:10", "array:1024:1024", "mipmap:1024:11",
        f"async:{100 * MIB}", f"stream:{40 * MIB}",
    ]  # fmt: skip
    least = [300 * MIB, 100 * MIB, 1000 * 1000, 100 * 100 * 10, 4 * MIB, 4 * MIB, 100 * MIB, 40 * MIB]
    steps = ["info", "total:0"]
    for kind in kinds:
        steps += [kind, "info"]
    refused = [f"malloc:{limit}", f"managed:{limit}", f"async:{limit}", "malloc:0xffffffffffffffff"]
    frees = [f"free:{i}" for i in range(len(kinds))]
    steps += ["copy:0:100000", *refused, "last", "last", *frees, "sync", "trim:0", "info", f"malloc:{limit - 64 * MIB}", "reset", "info"]
    lines = [line.split(" -> ", 1)[1] for line in where.run([program, *steps]).splitlines() if " -> " in line]
    expect("a line for each step", len(lines) == len(steps), len(lines), len(steps))
    said = dict(zip(range(len(steps)), lines))
    free = numbers(said[0])["free"]
    expect("the slice is what is free", numbers(said[0])["total"] == limit and limit - 64 * MIB <= free <= limit, said[0])
    expect("the slice is the card's size", numbers(said[1])["total"] == limit, said[1])
    for i, (kind, bytes_least) in enumerate(zip(kinds, least)):
        expect(f"{kind} is granted", said[2 + 2 * i].startswith("0"), said[2 + 2 * i])
        now = numbers(said[3 + 2 * i])["free"]
        expect(f"{kind} is charged", free - now >= bytes_least or kind.startswith("stream"), free, now)
        free = now
    at = 2 + 2 * len(kinds)
    expect("memory holds what was written", said[at] == "0", said[at])
    for i, step in enumerate(refused):
        expect(f"{step} is refused", said[at + 1 + i] == OOM, said[at + 1 + i])
    at += 1 + len(refused)
    expect("the error is told once", said[at] == OOM and said[at + 1] == "0", said[at], said[at + 1])
    for i in range(len(frees)):
        expect(f"{frees[i]} is done", said[at + 2 + i] == "0", said[at + 2 + i])
    at += 2 + len(frees)
    expect("everything came back", numbers(said[at + 2])["free"] >= limit - 64 * MIB, said[at + 2])
    expect("the whole slice is granted then", said[at + 3] == "0", said[at + 3])
    expect("a reset gives it back", numbers(said[at + 5])["free"] >= limit - 64 * MIB, said[at + 5])


def driver_steps(how: str, program: str, where: Slice, limit: int) -> None:
    """The driver API, reached as HOW says: linear memory, pools, virtual memory management, exactly up to the quota."""
    step = 2 * MIB
    half = limit // 2 // step * step
    steps = [
        "init", "context:c:0", "info", f"alloc:a:{half}", f"alloc:b:{half + step}", f"create:h:{half}", "map:v:h", f"create:i:{step * 2}",
        "release:h", "info", "unmap:v", "info", f"alloc:b:{half}", "alloc:x:512", "free:a", "free:b", f"async:p:{half}", f"alloc:y:{half + step}",
        "async-free:p", "sync", "trim:default:0", f"alloc:z:{limit - 16 * MIB}", "free:z", "info", "destroy:c",
    ]  # fmt: skip
    want = [0, 0, 0, 0, 2, 0, 0, 2, 0, 0, 0, 0, 0, None, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]
    lines = where.run([PROGRAMS / program, how, *steps]).splitlines()
    expect("a line for each step", len(lines) == len(steps), len(lines), len(steps))
    for text, name, status in zip(lines, steps, want):
        got = int(text.rsplit("= ", 1)[1])
        expect(f"{name} answers {status}", status is None or got == status, text)
    # The mapping keeps the memory when its handle is gone.
    held = [numbers(lines[i])["used"] for i in (2, 9, 11, 23)]
    expect("a mapping is charged until it is unmapped", held[1] - held[2] >= half, held)
    expect("nothing is left", held[3] <= held[0] + 16 * MIB, held)


def torch_allocator(card: Card, python: str, conf: str, limit: int) -> None:
    where = Slice(limit, card.driver_folder)
    child = Child(python, where, {"PYTORCH_CUDA_ALLOC_CONF": conf} if conf else {})
    try:
        first = child.ask("ready")
        expect("the answers are right", first["right"], first)
        base = child.ask("report")
        expect("the slice is the card", base["total"] == limit and base["props"] == limit, base)
        pid, before, process_before, ledger_before = child.process.pid, card.memory().used, None, where.used()
        process_before = card.used_by(pid)
        full = child.ask("fill")
        expect("the quota's error is torch.OutOfMemoryError", bool(full["oom"]), full)
        expect("the process goes on", full["works"], full)
        expect("it had most of the slice", limit - full["allocated"] <= 768 * MIB, limit, full)
        expect("and never more", full["reserved"] <= limit and where.used() <= limit, limit, full, where.used())
        ledger, after, process_after = where.used() - ledger_before, card.memory().used - before, card.used_by(pid)
        if process_before is not None and process_after is not None:
            after = process_after - process_before
        figure = "per process" if process_before is not None else "of the whole card (no process is listed)"
        print(f"     ledger +{ledger / MIB:.0f} MiB, NVML {figure} +{after / MIB:.0f} MiB")
        expect("the ledger agrees with NVML to 1 %", abs(ledger - after) <= ledger // 100, ledger, after)
        freed = child.ask("drop")
        expect("freed memory comes back", where.used() <= ledger_before + 64 * MIB, where.used(), ledger_before, freed)
        expect("a graph has its memory too", child.ask("graph")["right"])
        again = child.ask(f"hold {limit * 3 // 4}")
        expect("three quarters are granted anew", again["oom"] is None, again)
        too_much = child.ask(f"hold {limit // 2}")
        expect("and half more is refused", bool(too_much["oom"]), too_much)
        expect("it still works", child.ask("work")["right"])
    finally:
        child.kill()
        where.close()


def two_processes(card: Card, python: str, limit: int) -> None:
    """A neighbour's memory counts, and is free at once when it is killed."""
    where = Slice(limit, card.driver_folder)
    first, second = Child(python, where), Child(python, where)
    try:
        first.ask("ready")
        second.ask("ready")
        part = limit * 6 // 10
        expect("the first gets its part", first.ask(f"hold {part}")["oom"] is None)
        expect("the second does not", bool(second.ask(f"hold {part}")["oom"]))
        first.kill()
        start = time.monotonic()
        while second.ask(f"hold {part}")["oom"]:
            expect("memory of a killed process returns within 10 s", time.monotonic() - start < 10)
        print(f"     granted {time.monotonic() - start:.3f} s after the kill")
    finally:
        first.kill()
        second.kill()
        where.close()


def reporting(card: Card, limit: int) -> None:
    """NVML and nvidia-smi in the slice show the slice."""
    where = Slice(limit, card.driver_folder)
    try:
        lines = dict(line.split(" ", 1) for line in where.run([PROGRAMS / "nvml-view", f"allocate:{256 * MIB}"]).splitlines())
        total, free, used = map(int, lines["memory"].split())
        expect("memory was allocated", lines["allocate"] == "0", lines)
        expect("total is the limit", total == limit, lines)
        expect("used is the ledger's", used >= 256 * MIB and free <= limit - 256 * MIB, lines)
        expect("version 2 agrees", lines["memory2"].split()[0] == str(limit), lines)
        path = ":".join([os.environ.get("PATH", ""), "/usr/local/nvidia/bin"])
        smi = shutil.which("nvidia-smi", path=path)
        if smi:
            shown = where.run([smi, "--query-gpu=memory.total", "--format=csv,noheader,nounits", "-i", "0"])
            expect("nvidia-smi shows the limit", abs(int(shown.split()[0]) * MIB - limit) <= MIB, shown)
        else:
            print("     nvidia-smi is not here")
    finally:
        where.close()


def no_quota(card: Card, python: str) -> None:
    where = Slice(None, card.driver_folder)
    child = Child(python, where)
    try:
        expect("the answers are right", child.ask("ready")["right"])
        expect("the whole card is seen", child.ask("report")["total"] > card.memory().total * 9 // 10)
    finally:
        child.kill()
        where.close()


def closed(card: Card, limit: int) -> None:
    """A region that cannot be used denies everything."""
    where = Slice(limit, card.driver_folder)
    try:
        (where.folder / "control").write_bytes(b"garbage")
        lines = where.run([PROGRAMS / "runtime-steps", "malloc:1024"]).splitlines()
        expect("an allocation is refused", lines[0].endswith(OOM), lines)
    finally:
        where.close()


def vendor_runtimes(folder: Path) -> dict[str, Path]:
    """runtime-steps built with the vendor's own runtime, static and shared, where its headers are."""
    nvcc = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    roots = [Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")), Path(nvcc).resolve().parents[1]]
    roots += [Path(base) / "nvidia/cu13" for base in [*site.getsitepackages(), site.getusersitepackages()]]
    built: dict[str, Path] = {}
    for root in roots:
        libraries = [path for name in ("lib64", "lib", "targets/x86_64-linux/lib") for path in [root / name] if path.is_dir()]
        if built or not (root / "include/cuda_runtime_api.h").exists():
            continue
        for kind, names in {"static": ["libcudart_static.a"], "shared": ["libcudart.so", "libcudart.so.13", "libcudart.so.12"]}.items():
            library = next((path / name for path in libraries for name in names if (path / name).exists()), None)
            if library is None:
                continue
            program = folder / f"runtime-steps-{kind}"
            command = [
                "gcc", "-O1", "-D_GNU_SOURCE", "-DPENSTOCK_VENDOR_RUNTIME", f"-I{ROOT / 'native'}", f"-I{root / 'include'}", "-o", str(program),
                str(ROOT / "native/programs/runtime-steps.c"), str(library), f"-Wl,-rpath,{library.parent}", "-lpthread", "-ldl", "-lrt",
            ]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                built[kind] = program
            else:
                print(f"     {kind} runtime of {root}: {done.stderr.strip().splitlines()[-1:]}")
    return built


def in_slice(card: Card, limit: int, check: Callable[[Slice], None]) -> Callable[[], None]:
    def run() -> None:
        where = Slice(limit, card.driver_folder)
        try:
            check(where)
        finally:
            where.close()

    return run


def checks(card: Card, limit: int, folder: Path) -> dict[str, Callable[[], None]]:
    python = sys.executable
    all_checks: dict[str, Callable[[], None]] = {}

    def add(name: str, check: Callable[[Slice], None]) -> None:
        all_checks[name] = in_slice(card, limit, check)

    ways = [
        ("dlopen:libcuda.so.1", "driver-steps"), ("default", "driver-steps"), ("lookup:12000:0", "driver-steps"),
        ("lookup:12000:2", "driver-steps"), ("linked", "driver-steps-linked"), ("linked", "driver-steps-ptsz"),
    ]  # fmt: skip
    for how, program in ways:
        add(f"driver API, {how} ({program})", lambda where, h=how, p=program: driver_steps(h, p, where, limit))
    for program in ("runtime-steps", "runtime-steps-ptsz"):
        add(f"runtime API, mini runtime ({program})", lambda where, p=program: runtime_steps(PROGRAMS / p, where, limit))
    vendors = vendor_runtimes(folder)
    for kind, program in vendors.items():
        add(f"runtime API, the vendor's {kind} runtime", lambda where, p=program: runtime_steps(p, where, limit))
    if not vendors:
        print("not run: the vendor's runtime (its headers are not on this machine)")
    all_checks["NVML and nvidia-smi"] = lambda: reporting(card, limit)
    all_checks["a region that cannot be used"] = lambda: closed(card, limit)
    for name, conf in ALLOCATORS.items():
        all_checks[f"PyTorch, {name}"] = lambda c=conf: torch_allocator(card, python, c, limit)
    all_checks["PyTorch, two processes and a SIGKILL"] = lambda: two_processes(card, python, limit)
    all_checks["PyTorch, no quota"] = lambda: no_quota(card, python)
    return all_checks


def main() -> int:
    try:
        card = first_card()
    except NoCard as reason:
        print(f"gpu-test: not run: {reason}. This test needs a machine with an NVIDIA GPU.", file=sys.stderr)
        return 1
    memory = card.memory()
    if memory.free < LEAST_FREE:
        print(f"gpu-test: not run: {memory.free // MIB} MiB are free on {card.name}, {LEAST_FREE // MIB} are needed", file=sys.stderr)
        return 1
    # Two halves of it are whole allocations of any kind, and the card has room beside it for contexts: only the quota refuses.
    limit = min(8 * GIB, memory.free // 2) // (64 * MIB) * (64 * MIB)
    print(f"{card.name}, {memory.total // MIB} MiB; slices of {limit // MIB} MiB")
    passed = failed = 0
    with tempfile.TemporaryDirectory(prefix="penstock-gpu-") as folder:
        for name, check in checks(card, limit, Path(folder)).items():
            start = time.monotonic()
            try:
                check()
                passed += 1
                print(f"ok   {name} ({time.monotonic() - start:.1f} s)", flush=True)
            except (AssertionError, OSError, subprocess.SubprocessError, ValueError, KeyError, IndexError) as error:
                failed += 1
                print(f"FAIL {name}: {type(error).__name__}: {error}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
