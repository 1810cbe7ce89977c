"""A throw-away Slurm cluster on this machine, in namespaces of its own, with GPUs that are only names.

Needs root, the right to unshare, and Debian's packages of Slurm. Nothing outlives `stop`: the daemons
and their jobs share a process namespace. They share a network namespace that has a loopback device
and nothing else, so test beds cannot meet each other and no port is open to anybody.
"""

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

PACKAGES = ("munge", "slurmctld", "slurmd", "slurm-client")
PARTITION = "batch"
CPUS_PER_NODE = 16
MEMORY_PER_NODE = 64000

_ADDRESS = "192.0.2.{}"  # reserved for documentation; here on the loopback device

# config_overrides: nodes claim more than the host has. OverMemoryKill: memory is counted, not confined.
_SLURM_CONF = """\
ClusterName=testbed
SlurmUser=root
SlurmctldHost=controller
AuthType=auth/munge
CryptoType=crypto/munge
StateSaveLocation={folder}/controller
SlurmctldPidFile=/run/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdSpoolDir={folder}/%n
SlurmdPidFile=/run/slurmd.%n.pid
SlurmdLogFile={folder}/slurmd.%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SchedulerParameters=sched_min_interval=100000,batch_sched_delay=0,bf_interval=2
FirstJobId={first_job}
KillWait=3
MinJobAge=600
ReturnToService=1
"""


def unavailable() -> str:
    """Why there can be no test bed here, in words; empty when there can be one. May install Slurm."""
    if os.geteuid() != 0:
        return "the Slurm test bed needs root"
    if subprocess.run([*_unshare(), "true"], capture_output=True).returncode != 0:
        return "the Slurm test bed needs the right to unshare namespaces (CAP_SYS_ADMIN)"
    if not _installed() and shutil.which("apt-get"):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
            limited = ["timeout", "180", "apt-get", "-qq", *command]
            subprocess.run(limited, env=environment, capture_output=True)
    return "" if _installed() else f"Slurm cannot be installed here: {' '.join(PACKAGES)}"


def _installed() -> bool:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return all(shutil.which(tool, path=path) for tool in ("munged", "slurmctld", "slurmd", "sinfo"))


def _unshare() -> list[str]:
    namespaces = ["--mount", "--uts", "--net", "--pid"]
    return ["unshare", *namespaces, "--fork", "--kill-child", "--mount-proc"]


class TestBed:
    """A running cluster of `nodes` nodes called n1, n2, … with `gpus` GPUs each.

    Attributes:
        folder: configuration, state and logs.
    """

    __test__ = False

    def __init__(self, folder: Path, nodes: int, gpus: int):
        self.folder = folder
        self._nodes = nodes
        self._write_configuration(gpus)
        with (folder / "testbed.log").open("w") as log:
            self._unshare = subprocess.Popen(
                [*_unshare(), sys.executable, __file__, str(folder), str(nodes)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self.wait_for(lambda: self.idle_nodes() == nodes, 60)
        except TimeoutError:
            logs = [f"{path}:\n{path.read_text()[-2000:]}" for path in folder.glob("*.log")]
            self.stop()
            raise RuntimeError("the Slurm test bed did not start\n" + "\n".join(logs)) from None

    def _write_configuration(self, gpus: int) -> None:
        etc = self.folder / "etc"
        etc.mkdir(parents=True)
        (self.folder / "controller").mkdir()
        first_job = 1000 + os.getpid()  # jobs of two test beds must not share a lease folder
        lines = [_SLURM_CONF.format(folder=self.folder, first_job=first_job)]
        gres = []
        for port, node in enumerate(self._names(), start=6820):
            spool = self.folder / node
            spool.mkdir()
            for number in range(gpus):
                (spool / f"nvidia{number}").symlink_to("/dev/null")
            size = f"CPUs={CPUS_PER_NODE} RealMemory={MEMORY_PER_NODE} Gres=gpu:{gpus}"
            lines.append(
                f"NodeName={node} NodeHostname={node} NodeAddr={node} Port={port} {size}\n"
            )
            devices = f"{spool}/nvidia[0-{gpus - 1}]"
            gres.append(f"NodeName={node} Name=gpu File={devices} Flags=nvidia_gpu_env\n")
        lines.append(f"PartitionName={PARTITION} Nodes=ALL Default=YES MaxTime=INFINITE\n")
        (etc / "slurm.conf").write_text("".join(lines))
        (etc / "gres.conf").write_text("".join(gres))
        addresses = ["127.0.0.1 localhost", _ADDRESS.format(0) + " controller"]
        addresses += [f"{_ADDRESS.format(n)} n{n}" for n in range(1, self._nodes + 1)]
        (self.folder / "hosts").write_text("\n".join(addresses) + "\n")

    def _names(self) -> list[str]:
        return [f"n{number}" for number in range(1, self._nodes + 1)]

    def inside(self, *command: str) -> list[str]:
        """The command line that runs a command inside the test bed, on its login node."""
        init = psutil.Process(self._unshare.pid).children()[0].pid
        enter = ["nsenter", "--target", str(init), "--mount", "--uts", "--net", "--pid"]
        return [*enter, f"--wd={os.getcwd()}", "--", *command]

    def slurm(self, *command: str) -> str:
        """What a command of Slurm prints."""
        return subprocess.run(
            self.inside(*command), capture_output=True, text=True, timeout=60, check=True
        ).stdout

    def idle_nodes(self) -> int:
        """How many nodes are up and have no job."""
        try:
            return self.slurm("sinfo", "-hN", "-o", "%T").split().count("idle")
        except (subprocess.SubprocessError, psutil.Error, IndexError):
            return 0

    def jobs(self) -> list[dict[str, str]]:
        """Slurm's record of every job, also of those that ended."""
        records = self.slurm("scontrol", "show", "job", "--details", "--oneliner").splitlines()
        return [
            dict(part.partition("=")[::2] for part in record.split(" ") if "=" in part)
            for record in records
            if record.startswith("JobId=")
        ]

    def steps(self, node: str) -> list[str]:
        """The parts of jobs that a node has not ended yet: each has a socket."""
        return [path.name for path in (self.folder / node).glob(f"{node}_*.*")]

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait until a condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end or self._unshare.poll() is not None:
                raise TimeoutError(f"not within {seconds} s")
            time.sleep(0.2)

    def stop(self) -> None:
        """End the test bed with all of its jobs."""
        self._unshare.stdin.close()
        self._unshare.wait(timeout=30)


def _main(folder: Path, nodes: int) -> None:
    """The first process of the namespaces, with which the kernel ends all others in them."""
    # the pipe is closed by `stop`, and by the kernel when the tests are killed
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    _loopback_up()
    socket.sethostname("controller")
    for command in (
        ["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"],
        ["mkdir", "-p", "/run/munge", "/etc/slurm"],
        # jobs look for the configuration here: Snakemake drops SLURM_CONF before its srun
        ["mount", "--bind", folder / "etc", "/etc/slurm"],
        ["mount", "--bind", folder / "hosts", "/etc/hosts"],
    ):
        subprocess.run(command, check=True)
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(1024))
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    os.environ.pop("SLURM_CONF", None)
    munged = ["munged", "--foreground", "--num-threads=2", "--pid-file=/run/munge/pid"]
    munged += [f"--key-file={key}", f"--log-file={folder}/munged.log"]
    daemons = [subprocess.Popen([*munged, f"--seed-file={folder}/munge.seed"])]
    daemons += [subprocess.Popen(["slurmctld", "-D"])]
    for number in range(1, nodes + 1):
        node = f"hostname n{number} && exec slurmd -D -N n{number}"
        daemons += [subprocess.Popen(["unshare", "--uts", "sh", "-c", node])]
    while os.wait()[0] not in {daemon.pid for daemon in daemons}:
        pass  # an orphan of a job
    sys.exit("a daemon ended")


def _loopback_up() -> None:
    """Bring up the loopback device with the addresses of the nodes, without the need of iproute2.

    A name that has none but loopback addresses would not be resolved for Slurm (AI_ADDRCONFIG).
    """
    set_address, get_flags, set_flags, up = 0x8916, 0x8913, 0x8914, 0x1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(control, get_flags, request))[1]
        fcntl.ioctl(control, set_flags, struct.pack("16sH14x", b"lo", flags | up))
        address = socket.inet_aton(_ADDRESS.format(0))
        request = struct.pack("16sHH4s8x", b"lo:0", socket.AF_INET, 0, address)
        fcntl.ioctl(control, set_address, request)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]))
