"""The card, the versions, and what the card reaches: the ceilings that the other figures stand under."""

from __future__ import annotations

import subprocess
from dataclasses import asdict
from functools import partial

import torch

from benchmarks.common import report
from benchmarks.gpu.common import (
    device_name,
    parse_device,
    product_side,
    seconds_of,
    teraflops,
)
from samfleet.devices.visible import gpu_exists, visible_devices


def main() -> None:
    device = parse_device(__doc__)
    side = product_side(device)
    seconds = partial(seconds_of, device)
    square = torch.randn(side, side, device=device)
    target = torch.empty_like(square)
    block = torch.empty(1 << 24, dtype=torch.uint8, device=device)
    report(
        claim="what the device reaches",
        device=device_name(device),
        nvidia_smi=_nvidia_smi(),
        visible_devices=[asdict(found) for found in visible_devices()],
        gpu_exists=gpu_exists(),
        cudnn_tf32=torch.backends.cudnn.allow_tf32,
        matmul_tf32=torch.backends.cuda.matmul.allow_tf32,
        teraflops=teraflops(device),
        copy_terabytes_per_second=2
        * square.nbytes
        / seconds(lambda: target.copy_(square), 20)
        / 1e12,
        microseconds_a_launch=seconds(lambda: target[:1].add_(1), 2000) * 1e6,
        to_host_gigabytes_per_second=block.nbytes / seconds(block.cpu, 10) / 1e9,
    )
    print("ENVIRONMENT: done")


def _nvidia_smi() -> str:
    try:
        query = [
            "nvidia-smi",
            "--query-gpu=name,driver_version,memory.total",
            "--format=csv,noheader",
        ]
        return subprocess.run(query, capture_output=True, text=True).stdout.strip()
    except OSError as error:
        return str(error)


if __name__ == "__main__":
    main()
