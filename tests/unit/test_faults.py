"""What errors of CUDA, its libraries, the driver and torch's allocators mean, by their own words."""

import pytest
import torch

from samfleet.faults import is_device_failure, is_out_of_device_memory, is_out_of_memory

NO_MEMORY = [
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.25 GiB",
    "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
    "CUDA driver error: out of memory",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`",
    "cuFFT error: CUFFT_ALLOC_FAILED",
    'NVML_SUCCESS == r INTERNAL ASSERT FAILED at "/pytorch/c10/cuda/CUDACachingAllocator.cpp":1016, '
    "please report a bug to PyTorch.",
    "GET was unable to find an engine to execute this computation",
    "Unable to find a valid cuDNN algorithm to run convolution",
    "Triton Error [CUDA]: out of memory",
]
LOST = [
    "CUDA error: an illegal memory access was encountered",
    "CUDA error: unspecified launch failure",
    "CUDA error: uncorrectable ECC error encountered",
    "CUDA error: the launch timed out and was terminated",
    "CUDA error: device-side assert triggered",
    "CUDA error: all CUDA-capable devices are busy or unavailable",
    "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( ... )`",
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
    "CUDA unknown error - this may be due to an incorrectly set up environment, e.g. changing env variable "
    "CUDA_VISIBLE_DEVICES after program start. Setting the available devices to be zero.",
    "CUDA driver error: unknown error",
    "CUDA driver initialization failed, you might not have a CUDA gpu.",
    "Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before calling "
    "NumCudaDevices() that might have already set an error? Error 804",
    "No CUDA GPUs are available",
    "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU",
    "The NVIDIA driver on your system is too old (found version 11040).",
    "Can't initialize NVML",
    "Triton Error [CUDA]: an illegal memory access was encountered",
]
NEITHER = [
    "mat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)",
    "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!",
    "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a non-contiguous input.",
    "cuDNN error: CUDNN_STATUS_BAD_PARAM",
    "cannot read the file",
    "",
]
ERRORS = [RuntimeError, torch.AcceleratorError]


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("words", NO_MEMORY)
def test_memory_that_ran_out_is_no_reason_to_give_a_device_up(kind, words):
    error = kind(words)
    assert is_out_of_memory(error)
    assert is_out_of_device_memory(error)
    assert not is_device_failure(error)


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("words", LOST)
def test_after_any_other_error_of_cuda_nothing_is_tried_in_this_process(kind, words):
    assert is_device_failure(kind(words))
    assert not is_out_of_memory(kind(words))


@pytest.mark.parametrize("words", NEITHER)
def test_other_errors_say_nothing_about_the_device(words):
    error = RuntimeError(words)
    assert not is_device_failure(error)
    assert not is_out_of_memory(error)


def test_torchs_own_classes_need_no_words():
    assert is_out_of_memory(torch.OutOfMemoryError())
    assert not is_device_failure(torch.OutOfMemoryError())
    assert is_device_failure(torch.AcceleratorError("anything"))


def test_the_hosts_memory_is_not_the_devices():
    words = "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you "
    error = RuntimeError(
        words + "tried to allocate 68719476736 bytes. Error code 12 (Cannot allocate memory)"
    )
    assert is_out_of_memory(error)
    assert not is_out_of_device_memory(error)
    assert not is_device_failure(error)
