"""What an error says about the device that it came from. Standard library only.

torch has a class of its own for its allocator's errors only. What CUDA, its libraries and the driver report comes as
`RuntimeError` or `AcceleratorError`, so their words decide.
"""

import re

_NO_DEVICE_MEMORY = re.compile(
    r"CUDA out of memory"
    r"|CUDA (driver )?error: out of memory|Triton Error \[CUDA\]: out of memory"
    r"|cudaErrorMemoryAllocation|CUDA_ERROR_OUT_OF_MEMORY"
    r"|CU[A-Z]+_(STATUS_)?(INTERNAL_ERROR_(DEVICE|HOST)_)?ALLOC(ATION)?_FAILED"  # cuBLAS, cuDNN, …
    # torch asks NVML who else uses memory after it found none, and not every driver answers (MIG)
    r"|NVML_SUCCESS\b.*INTERNAL ASSERT FAILED.*CUDACachingAllocator"
    # what is left when no algorithm of a convolution gets its workspace
    r"|unable to find an engine to execute this computation|find a valid cuDNN algorithm"
)
_NO_HOST_MEMORY = re.compile(r"DefaultCPUAllocator: (can't allocate|not enough) memory")
_DEVICE_FAILURE = re.compile(
    r"CUDA (driver |unknown )?error|Triton Error \[CUDA\]"
    r"|CUDA (driver )?initiali[sz]ation|cudaGetDeviceCount|No CUDA GPUs are available"
    r"|NVIDIA driver|NVML|GPU is lost|GPU has fallen off the bus"
    # the other two mean that a program asked for something wrong
    r"|cuDNN error: (?!CUDNN_STATUS_(BAD_PARAM|NOT_SUPPORTED))"
)


def is_out_of_device_memory(error: BaseException) -> bool:
    """Whether a GPU's memory does not suffice, so that less work at a time may fit."""
    return _is_torch(error, "OutOfMemoryError") or bool(_NO_DEVICE_MEMORY.search(str(error)))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the memory for tensors does not suffice, be it a GPU's or the host's."""
    return is_out_of_device_memory(error) or bool(_NO_HOST_MEMORY.search(str(error)))


def is_device_failure(error: BaseException) -> bool:
    """Whether the device or its driver failed: nothing more can be computed in this process.

    Most of CUDA's errors spoil the process's context for good, so none but the lack of memory is tried again.
    """
    if is_out_of_memory(error):
        return False
    return _is_torch(error, "AcceleratorError") or bool(_DEVICE_FAILURE.search(str(error)))


def _is_torch(error: BaseException, name: str) -> bool:
    kinds = type(error).__mro__
    return any(kind.__name__ == name and kind.__module__.startswith("torch") for kind in kinds)
