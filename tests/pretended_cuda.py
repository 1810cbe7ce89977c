"""A pretended CUDA device: tensors on ``cuda`` that a CPU computes, and what a real device would have had to do.

Every operation on such a tensor passes through one function, which refuses what CUDA refuses (tensors of both
devices together) and counts. How many kernels an operation launches is estimated; which operations make the host
wait follows from torch's sources.
"""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

CUDA = torch.device("cuda", 0)
_BLOCK = 512  # bytes, as torch's allocator rounds

_FREE = {"empty", "empty_like", "empty_strided", "new_empty", "_unsafe_view", "lift", "lift_fresh"}
_LAUNCHES = {
    **{"nonzero": 6, "masked_select": 6, "nms": 8, "sort": 4, "topk": 3, "repeat_interleave": 4},
    **{"convolution": 3, "cumsum": 2, "index_put_": 2, "index_add": 2, "scatter_reduce": 2},
    "baddbmm": 2,
}
"""Kernels of one call; one where nothing is said."""
_WAITING = {"nonzero", "masked_select", "nms", "equal", "bincount", "_unique2", "unique_dim"}
"""What gives a tensor of a size that only the device knows."""
_PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "convolution"}
_COPIES = {"_to_copy", "copy_"}
_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}


@dataclass
class Device:
    """What the pretended device has done since `restart`, and how much memory it has.

    Attributes:
        launches: kernels, estimated.
        waits: how often the host waited for the device, by reason.
        to_host, to_device: bytes that were copied.
        held, peak: bytes that tensors take now, and the most they took.
        limit: bytes that they may take.
        exhausted: the error when they would take more.
        waited: how often the host has waited at all, also before `restart`.
        rounded: whether operands of products are rounded to TF32 where that is allowed.
    """

    launches: int = 0
    waits: Counter[str] = field(default_factory=Counter)
    to_host: int = 0
    to_device: int = 0
    held: int = 0
    peak: int = 0
    limit: float = math.inf
    exhausted: Callable[[], Exception] = lambda: torch.OutOfMemoryError("CUDA out of memory.")
    waited: int = 0
    rounded: bool = True

    def restart(self) -> None:
        self.launches = self.to_host = self.to_device = 0
        self.waits.clear()
        self.peak = self.held


DEVICE = Device()
_MEMORY: WeakValueDictionary[int, _Memory] = WeakValueDictionary()


class _Memory:
    """An allocation, which the tensors that use it hold."""

    def __init__(self, size: int) -> None:
        self.size = 0
        size = -(-size // _BLOCK) * _BLOCK
        if DEVICE.held + size > DEVICE.limit:
            raise DEVICE.exhausted()
        self.size = size
        DEVICE.held += size
        DEVICE.peak = max(DEVICE.peak, DEVICE.held)

    def __del__(self, device: Device = DEVICE) -> None:
        device.held -= self.size


class CudaTensor(torch.Tensor):
    """A tensor that says it is on the pretended device."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    inner: torch.Tensor
    memory: _Memory

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> CudaTensor:
        tensor = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=CUDA,
        )
        storage = inner.untyped_storage()
        tensor.inner = inner
        tensor.memory = _MEMORY.get(storage.data_ptr()) or _Memory(storage.nbytes())
        if storage.data_ptr():
            _MEMORY[storage.data_ptr()] = tensor.memory
        return tensor

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _carry_out(func, args, kwargs or {})

    def numpy(self, **_: object) -> np.ndarray:
        raise TypeError("can't convert cuda:0 device type tensor to numpy; use Tensor.cpu()")

    def tolist(self) -> list:
        return self.cpu().tolist()

    def new_tensor(self, data: Any, dtype: torch.dtype | None = None) -> torch.Tensor:
        return torch.tensor(data, dtype=dtype or self.dtype).to(CUDA)

    def __repr__(self, **_: object) -> str:
        return f"pretended {self.inner!r}"


def _is_pretended(value: object) -> bool:
    return isinstance(value, CudaTensor)


def _carry_out(func: Any, args: tuple, kwargs: dict) -> Any:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    target = kwargs.get("device")
    target = None if target is None else torch.device(target)
    if not any(map(_is_pretended, tensors)) and (target is None or target.type != "cuda"):
        return func(*args, **kwargs)
    name = func._schema.name.split("::")[1]
    _check(name, args, tensors)
    inner_args, inner_kwargs = tree_map(
        lambda value: value.inner if _is_pretended(value) else value, (args, kwargs)
    )
    if target is not None:
        inner_kwargs["device"] = torch.device("cpu")
    inner_kwargs.pop("pin_memory", None)
    if DEVICE.rounded and name in _PRODUCTS and _allows_tf32(name):
        inner_args = [_as_tf32(value) for value in inner_args]
    result = func(*inner_args, **inner_kwargs)
    returned = func._schema.returns
    is_view = any(each.alias_info and not each.alias_info.is_write for each in returned)
    if name in _COPIES:
        source, goal = (args[1], args[0]) if name == "copy_" else (args[0], None)
        on_device = _is_pretended(goal) if goal is not None else (target or CUDA).type == "cuda"
        _count_copy(source, on_device, kwargs.get("non_blocking") or args[2:3] == (True,))
        if not on_device:
            return args[0] if goal is not None else result
    elif name == "_local_scalar_dense":
        _wait("item", 8)
        return result
    elif not is_view:
        _count(name, args, kwargs)
    given = {id(value.inner): value for value in tensors if _is_pretended(value)}
    return tree_map(
        lambda value: given[id(value)] if id(value) in given else _wrapped(value), result
    )


def _wrapped(value: Any) -> Any:
    return CudaTensor(value) if isinstance(value, torch.Tensor) else value


def _check(name: str, args: tuple, tensors: list[torch.Tensor]) -> None:
    """Raises RuntimeError where CUDA would for tensors of both devices."""
    if name in _INDEXING:
        if not _is_pretended(args[0]):
            raise RuntimeError("indices should be on the same device as the indexed tensor (cpu)")
        tensors = [value for value in args[2:] if isinstance(value, torch.Tensor)]
    if name in _COPIES:
        return
    strangers = [each for each in tensors if not _is_pretended(each)]
    if any(each.dim() for each in strangers) or (
        strangers and name in _PRODUCTS | {"cat", "stack"}
    ):
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found cuda:0 and cpu ({name})"
        )


def _wait(why: str, to_host: int = 0) -> None:
    DEVICE.waits[why] += 1
    DEVICE.waited += 1
    DEVICE.to_host += to_host


def _count(name: str, args: tuple, kwargs: dict) -> None:
    DEVICE.launches += 0 if name in _FREE else _LAUNCHES.get(name, 1)
    if name in _WAITING or (name == "repeat_interleave" and kwargs.get("output_size") is None):
        _wait(name, 8)
    if name in _INDEXING:
        for index in args[1]:
            if index is not None and index.dtype == torch.bool:
                DEVICE.launches += _LAUNCHES["nonzero"]
                _wait("boolean index", 8)
            if index is not None and not _is_pretended(index):
                DEVICE.to_device += index.nbytes
                _wait("index on the host")


def _count_copy(source: torch.Tensor, on_device: bool, non_blocking: bool) -> None:
    DEVICE.launches += 1
    if _is_pretended(source) and on_device:
        return
    if on_device:
        DEVICE.to_device += source.nbytes
    else:
        DEVICE.to_host += source.nbytes
    if not non_blocking:
        _wait("copy to the device" if on_device else "copy to the host")


def _allows_tf32(name: str) -> bool:
    kind = torch.backends.cudnn if name == "convolution" else torch.backends.cuda.matmul
    return kind.allow_tf32


def _as_tf32(value: Any) -> Any:
    """Rounded to ten bits of the fraction, as tensor cores round operands."""
    if not isinstance(value, torch.Tensor) or value.dtype != torch.float32:
        return value
    bits = value.contiguous().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _carry_out(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """What torch does out of sight of dispatch modes, or by asking the driver."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor):
            device = kwargs.pop("device", None)
            made = args[0] if _is_pretended(args[0]) else func(*args, **kwargs)
            return made if device is None else made.to(device)
        if func is torch.Tensor.pin_memory:
            return args[0].clone()
        if func is torch.nn.functional.scaled_dot_product_attention and _is_pretended(args[0]):
            return _attend(*args, **kwargs)
        return func(*args, **kwargs)


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    scale: float | None = None,
) -> torch.Tensor:
    given = [each for each in (query, key, value, bias) if each is not None]
    if len({each.dtype for each in given}) > 1 or not all(map(_is_pretended, given)):
        raise RuntimeError("Expected query, key, value and bias of one dtype on one device")
    DEVICE.launches += 1
    attend = torch.nn.functional.scaled_dot_product_attention
    return CudaTensor(attend(*(each.inner for each in given), scale=scale))


class _Event:
    """An event of a stream in which everything is done at once."""

    def __init__(self, enable_timing: bool = False) -> None:
        self.seconds = 0.0
        self.waits = -1

    def record(self, stream: object = None) -> None:
        self.seconds = time.perf_counter()
        self.waits = DEVICE.waited

    def synchronize(self) -> None:
        """Waits, unless the host has waited since for what the device was given later."""
        if self.waits == DEVICE.waited:
            _wait("event")

    def elapsed_time(self, other: _Event) -> float:
        return 1000 * (other.seconds - self.seconds)


def moved(module: torch.nn.Module) -> Any:
    """A copy of a model on the pretended device."""
    module = copy.deepcopy(module)
    for part in module.modules():
        for table in (part._parameters, part._buffers):
            for name, value in table.items():
                if value is not None:
                    table[name] = _placed(value)
    return module


def _placed(value: torch.Tensor) -> torch.Tensor:
    tensor = CudaTensor(value.detach())
    is_parameter = isinstance(value, torch.nn.Parameter)
    return torch.nn.Parameter(tensor, requires_grad=False) if is_parameter else tensor


@contextlib.contextmanager
def pretended_cuda() -> Iterator[Device]:
    """A block in which torch has a device ``cuda``."""
    replaced: dict[str, Any] = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "is_bf16_supported": lambda *_: True,
        "synchronize": lambda *_: _wait("synchronize"),
        "empty_cache": lambda: None,
        "Event": _Event,
    }
    torch._C._ensureCUDADeviceGuardSet()
    DEVICE.limit, DEVICE.exhausted = math.inf, Device.exhausted
    with pytest.MonkeyPatch.context() as patch:
        for name, value in replaced.items():
            patch.setattr(torch.cuda, name, value)
        common = torch.cuda.amp.common
        patch.setattr(common, "amp_definitely_not_available", lambda: False)
        torch._C._set_only_lift_cpu_tensors(True)
        try:
            with _Functions(), _Dispatch():
                DEVICE.restart()
                yield DEVICE
        finally:
            torch._C._set_only_lift_cpu_tensors(False)
