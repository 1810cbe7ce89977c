"""Visible devices: CUDA_VISIBLE_DEVICES as CUDA reads it, identified by nvidia-smi."""

import pytest

from samfleet.devices import visible
from samfleet.devices.visible import Device, gpu_exists, visible_devices

UUIDS = [
    "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1a2b)",
    "GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-1a3c)",
    "GPU 2: NVIDIA GPU-X1 (UUID: GPU-2d4e)",
]
DIVIDED = [
    "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-1a2b)",
    "  MIG 3g.20gb     Device  0: (UUID: MIG-c738-4736)",
    "  MIG 3g.20gb     Device  1: (UUID: MIG-a28a-d590)",
    "GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-1a3c)",
    "GPU 2: NVIDIA A100-SXM4-40GB (UUID: GPU-2d4e)",
]
MODES = ["GPU-1a2b, Enabled", "GPU-1a3c, Disabled", "GPU-2d4e, Enabled"]
"""The first GPU has two instances, the second is not divided, the third is and has none."""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Makes a machine: the output of nvidia-smi (None: not installed) and the files in /dev.

    `modes` is what it says of MIG, None where it does not know the word.
    """
    dev = tmp_path / "dev"
    dev.mkdir()
    tools = tmp_path / "bin"
    tools.mkdir()
    monkeypatch.setattr(visible, "Path", lambda path: {"/dev": dev}[path])
    monkeypatch.setenv("PATH", str(tools))

    def build(
        listing: list[str] | None = None,
        dev_files: tuple = (),
        status: int = 0,
        modes: list[str] | None = None,
    ):
        for name in dev_files:
            (dev / name).touch()
        if listing is not None:
            said = [f"echo '{line}'" for line in listing]
            known = (
                ["exit 6"] if modes is None else [*(f"echo '{line}'" for line in modes), "exit 0"]
            )
            script = ["#!/bin/sh", 'if [ "$1" != -L ]; then', *known, "fi", *said, f"exit {status}"]
            (tools / "nvidia-smi").write_text("\n".join(script) + "\n")
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


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (None, ["MIG-c738-4736", "MIG-a28a-d590", "GPU-1a3c"]),
        ("0", ["MIG-c738-4736"]),
        ("1,0", ["1", "MIG-c738-4736"]),
        ("2,1", ["1"]),
        ("GPU-1a2b", ["MIG-c738-4736"]),
        ("GPU-1a3", ["GPU-1a3"]),
        ("MIG-a28a-d590", ["MIG-a28a-d590"]),
        ("MIG-c", ["MIG-c"]),
        ("0,MIG-c738-4736,MIG-a28a-d590", ["MIG-c738-4736", "MIG-a28a-d590"]),
    ],
)
def test_a_divided_gpu_is_used_by_its_instances(machine, value, names):
    """CUDA cannot use it as a whole: NVIDIA's MIG user guide, "CUDA Device Enumeration"."""
    machine(DIVIDED, modes=MODES)
    assert [name for name, _ in seen(value)] == names


def test_a_part_of_an_instances_uuid_has_the_lock_of_the_whole(machine):
    machine(DIVIDED, modes=MODES)
    assert seen("MIG-c") == [("MIG-c", "MIG-c738-4736")]


def test_instances_by_the_names_of_older_drivers(machine):
    instances = ["MIG-GPU-1a2b/1/0", "MIG-GPU-1a2b/2/0"]
    lines = [f"  MIG 1g.5gb Device {i}: (UUID: {name})" for i, name in enumerate(instances)]
    machine([*UUIDS[:1], *lines], modes=["GPU-1a2b, Enabled"])
    assert seen(None) == [(name, name) for name in instances]


@pytest.mark.parametrize("modes", [None, ["GPU-1a2b, [N/A]", "GPU-1a3c, Disabled"]])
def test_where_no_gpu_is_divided_they_are_numbered(machine, modes):
    machine(UUIDS[:2], modes=modes)
    assert seen(None) == [("0", "GPU-1a2b"), ("1", "GPU-1a3c")]


def test_a_divided_gpu_without_instances_is_none(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(visible.sys, "executable", "/bin/false")
    machine(UUIDS[:1], modes=["GPU-1a2b, Enabled"])
    assert seen(None) == seen("0") == []
    assert not gpu_exists()


def test_a_device_that_is_named_twice_is_one(machine):
    machine(UUIDS)
    assert seen("1,GPU-1a3c,0") == [("1", "GPU-1a3c"), ("0", "GPU-1a2b")]


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
