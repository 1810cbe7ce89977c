"""Visible devices: CUDA_VISIBLE_DEVICES as CUDA reads it, identified by nvidia-smi."""

import pytest

from samfleet.devices import visible
from samfleet.devices.visible import Device, gpu_exists, visible_devices

UUIDS = ["GPU-1a2b", "GPU-1a3c", "GPU-2d4e"]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Makes a machine: the output of nvidia-smi (None: not installed) and the files in /dev."""
    dev = tmp_path / "dev"
    dev.mkdir()
    tools = tmp_path / "bin"
    tools.mkdir()
    monkeypatch.setattr(visible, "Path", lambda path: {"/dev": dev}[path])
    monkeypatch.setenv("PATH", str(tools))

    def build(listing: list[str] | None = None, dev_files: tuple = (), status: int = 0):
        for name in dev_files:
            (dev / name).touch()
        if listing is not None:
            lines = "".join(f"echo '{line}'\n" for line in listing)
            (tools / "nvidia-smi").write_text(f"#!/bin/sh\n{lines}exit {status}\n")
            (tools / "nvidia-smi").chmod(0o755)

    return build


def seen(value: str | None) -> list[tuple[str, str]]:
    environment = {} if value is None else {"CUDA_VISIBLE_DEVICES": value}
    return [(device.name, device.lock) for device in visible_devices(environment=environment)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, [("0", "GPU-1a2b"), ("1", "GPU-1a3c"), ("2", "GPU-2d4e")]),
        ("", []),
        ("0", [("0", "GPU-1a2b")]),
        ("2,0", [("2", "GPU-2d4e"), ("0", "GPU-1a2b")]),
        (" 0 , 1 ", [("0", "GPU-1a2b"), ("1", "GPU-1a3c")]),
        ("-1", []),
        ("0,-1,1", [("0", "GPU-1a2b")]),
        ("0,3,1", [("0", "GPU-1a2b")]),
        ("0,0,1", [("0", "GPU-1a2b"), ("1", "GPU-1a3c")]),
        ("NoDevFiles", []),
        ("GPU-2d4e", [("GPU-2d4e", "GPU-2d4e")]),
        ("GPU-2,GPU-1a3", [("GPU-2", "GPU-2d4e"), ("GPU-1a3", "GPU-1a3c")]),
        ("GPU-1a", [("GPU-1a", "GPU-1a")]),
        ("MIG-7f-1,MIG-7f-2", [("MIG-7f-1", "MIG-7f-1"), ("MIG-7f-2", "MIG-7f-2")]),
        ("MIG-GPU-1a2b/3/0", [("MIG-GPU-1a2b/3/0", "MIG-GPU-1a2b/3/0")]),
    ],
)
def test_visible_devices_are_those_that_cuda_would_show(machine, value, expected):
    machine(UUIDS)
    assert seen(value) == expected


def test_an_index_and_a_uuid_of_one_device_have_one_lock(machine):
    machine(UUIDS)
    assert seen("1")[0][1] == seen("GPU-1a3c")[0][1]


def test_without_nvidia_smi_the_device_files_are_counted(machine):
    machine(None, ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"))
    assert seen(None) == [("0", "0"), ("1", "1")]
    assert seen("1") == [("1", "1")]


def test_where_nvidia_smi_fails_the_device_files_are_counted(machine):
    machine(["NVIDIA-SMI has failed"], ("nvidia0",), status=9)
    assert seen(None) == [("0", "0")]


def test_what_nvidia_smi_says_beside_uuids_is_no_device(machine):
    machine(["No devices were found"])
    assert seen(None) == []


def test_a_machine_without_gpus_has_no_devices(machine):
    machine()
    assert seen(None) == []


def test_inherited_devices_are_believed_where_nothing_can_be_counted(machine):
    machine()
    assert seen("3,GPU-9") == [("3", "3"), ("GPU-9", "GPU-9")]


@pytest.mark.parametrize("value", [None, ""])
def test_pretended_devices_replace_the_real_ones(machine, value):
    machine(UUIDS)
    environment = {} if value is None else {"CUDA_VISIBLE_DEVICES": value}
    assert visible_devices(["left", "right"], environment) == [
        Device("left", "left", pretended=True),
        Device("right", "right", pretended=True),
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", ["left"]),
        (" 2 ,0", ["right", "left"]),
        ("1,3,0", ["middle"]),
        ("-1", []),
        ("NoDevFiles", []),
        ("GPU-1a2b", []),
    ],
)
def test_a_scheduler_picks_among_pretended_devices_by_number(machine, value, expected):
    machine(UUIDS)
    found = visible_devices(["left", "middle", "right"], {"CUDA_VISIBLE_DEVICES": value})
    assert [device.name for device in found] == expected
    assert all(device.pretended for device in found)


@pytest.mark.parametrize(("found_by_torch", "status"), [(True, 0), (False, 1)])
def test_where_nothing_can_be_counted_torch_says_whether_there_is_a_gpu(
    machine, tmp_path, monkeypatch, found_by_torch, status
):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nexit {status}\n")
    python.chmod(0o755)
    monkeypatch.setattr(visible.sys, "executable", str(python))
    machine()
    assert gpu_exists() == found_by_torch
    machine(UUIDS)
    assert gpu_exists()
