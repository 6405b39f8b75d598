# SPDX-License-Identifier: Apache-2.0
"""Stands in for PyTorch where there is no GPU, so that test/gpu itself is tested: as much of its interface as torch_child.py
uses, memory from the driver, and of arithmetic only the results that are looked for."""

import contextlib
import ctypes
import types

__version__ = "stand-in"
float32 = uint8 = None
_driver = ctypes.CDLL("libcuda.so.1")
_context = ctypes.c_void_p()
_allocated = 0
if _driver.cuInit(0) or _driver.cuDevicePrimaryCtxRetain(ctypes.byref(_context), 0) or _driver.cuCtxSetCurrent(_context):
    raise RuntimeError("no CUDA")


class OutOfMemoryError(RuntimeError):
    pass


class Tensor:
    def __init__(self, size: int = 0):
        global _allocated
        self.size, self.address = 0, ctypes.c_ulonglong()
        if size and _driver.cuMemAlloc_v2(ctypes.byref(self.address), ctypes.c_size_t(size)):
            raise OutOfMemoryError("CUDA out of memory.")
        self.size = size
        _allocated += size

    def __del__(self):
        global _allocated
        if self.size:
            _driver.cuMemFree_v2(self.address)
            _allocated -= self.size

    def _same(self, *_) -> "Tensor":
        return self

    __add__ = __mul__ = __matmul__ = relu = double = fill_ = _same

    def __getitem__(self, _) -> float:
        return 7.0

    def sum(self) -> float:
        return (1 << 19) * ((1 << 20) + 1.0)

    def trace(self) -> float:
        return 2048.0


def _small(*_, **__) -> Tensor:
    return Tensor()


def zeros(size: int, **_) -> Tensor:
    return Tensor(size)


def _mem_get_info() -> tuple[int, int]:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    _driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
    return free.value, total.value


def _properties(device: int) -> types.SimpleNamespace:
    total = ctypes.c_size_t()
    _driver.cuDeviceTotalMem_v2(ctypes.byref(total), device)
    return types.SimpleNamespace(total_memory=total.value)


arange = eye = ones = _small
cuda = types.SimpleNamespace(
    synchronize=lambda: None,
    empty_cache=lambda: None,
    get_device_name=lambda _: "stand-in",
    mem_get_info=_mem_get_info,
    get_device_properties=_properties,
    memory_allocated=lambda: _allocated,
    memory_reserved=lambda: _allocated,
    Stream=lambda: types.SimpleNamespace(wait_stream=lambda _: None),
    current_stream=lambda: types.SimpleNamespace(wait_stream=lambda _: None),
    CUDAGraph=lambda: types.SimpleNamespace(replay=lambda: None),
    stream=lambda _: contextlib.nullcontext(),
    graph=lambda _: contextlib.nullcontext(),
)
