"""SLURM on one node, on loopback, for tests and for bench/folders.py."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CONFIGURATION = """ClusterName=t
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.pid
SlurmctldLogFile={home}/c.log
SlurmdLogFile={home}/d.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=test Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def free_ports() -> list[int]:
    """Two that are free on loopback."""
    with socket.socket() as one, socket.socket() as other:
        for found in (one, other):
            found.bind(("127.0.0.1", 0))
        return [found.getsockname()[1] for found in (one, other)]


def lacking() -> str:
    """What this machine lacks, "" where all is there."""
    missing = [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if shutil.which(name) is None]
    return ", ".join(missing) or ("nothing else" if os.geteuid() else "")


@contextmanager
def slurm_node(home: Path) -> Iterator[str]:
    """Its file of settings (SLURM_CONF), while its daemons run; they are ended by their ids."""
    home = home.absolute()
    (home / "state").mkdir(parents=True)
    (home / "spool").mkdir()
    Path("/run/munge").mkdir(exist_ok=True)
    (home / "key").write_bytes(os.urandom(1024))
    (home / "key").chmod(0o400)
    host, settings = socket.gethostname().partition(".")[0], home / "slurm.conf"
    settings.write_text(CONFIGURATION.format(host=host, home=home, cpus=os.cpu_count(), ports=free_ports()))
    environment = {**os.environ, "SLURM_CONF": str(settings)}
    own = [f"--{name}-file={home}/{file}" for name, file in (("key", "key"), ("pid", "munged.pid"))]
    own += [f"--log-file={home}/munged.log", f"--seed-file={home}/seed"]
    try:
        for daemon in (["munged", "--force", *own], ["slurmctld"], ["slurmd"]):
            subprocess.run(daemon, check=True, capture_output=True, timeout=60, env=environment)
        yield str(settings)
    finally:
        for name in ("slurmd", "slurmctld", "munged"):
            with suppress(OSError, ValueError):
                os.kill(int((home / f"{name}.pid").read_text()), signal.SIGTERM)
