# SPDX-License-Identifier: Apache-2.0
"""The real card, asked from outside of any slice, through NVML."""

import ctypes
import os
from dataclasses import dataclass

FOLDERS = ("", "/usr/local/nvidia/lib64/", "/usr/local/nvidia/lib/", "/usr/lib/wsl/lib/")


class NoCard(Exception):
    """Why nothing can be tested here."""


def load(name: str) -> tuple[ctypes.CDLL, str]:
    """The library and the folder where it was found; the folder is empty where the loader finds it by itself."""
    why = ""
    for folder in FOLDERS:
        try:
            return ctypes.CDLL(folder + name), folder
        except OSError as error:
            why = why or str(error)
    raise NoCard(f"the NVIDIA driver is not here: {why}")


class Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]


class Process(ctypes.Structure):
    _fields_ = [
        ("pid", ctypes.c_uint),
        ("used", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    ]


@dataclass
class Card:
    nvml: ctypes.CDLL
    handle: ctypes.c_void_p
    name: str
    driver_folder: str

    def memory(self) -> Memory:
        out = Memory()
        check(self.nvml.nvmlDeviceGetMemoryInfo(self.handle, ctypes.byref(out)), "nvmlDeviceGetMemoryInfo")
        return out

    def used_by(self, pid: int) -> int | None:
        """NVML's figure for one process; None where it lists none (numbers of another PID namespace, no permission)."""
        count, entries = ctypes.c_uint(256), (Process * 256)()
        if self.nvml.nvmlDeviceGetComputeRunningProcesses_v3(self.handle, ctypes.byref(count), entries):
            return None
        for entry in entries[: count.value]:
            if entry.pid == pid and entry.used != 2**64 - 1:
                return entry.used
        return None


def check(result: int, what: str) -> None:
    if result:
        raise NoCard(f"{what} answers {result}")


def first_card() -> Card:
    """The first card of the machine.

    Raises NoCard where the driver, NVML or the card is missing."""
    _, folder = load("libcuda.so.1")
    nvml, _ = load("libnvidia-ml.so.1")
    check(nvml.nvmlInit_v2(), "nvmlInit")
    handle, name = ctypes.c_void_p(), ctypes.create_string_buffer(96)
    check(nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(handle)), "nvmlDeviceGetHandleByIndex(0)")
    nvml.nvmlDeviceGetMemoryInfo.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    check(nvml.nvmlDeviceGetName(handle, name, 96), "nvmlDeviceGetName")
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0] not in ("0", ""):
        raise NoCard("CUDA_VISIBLE_DEVICES names another card than the first; unset it")
    return Card(nvml, handle, name.value.decode(), folder)
