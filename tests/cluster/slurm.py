"""A SLURM of one node with made-up hardware, which lives in one folder and ends with its `with` block."""

import contextlib
import getpass
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from datetime import datetime
from pathlib import Path

BINARIES = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
CPUS, MEMORY_MB, GPUS = 8, 16000, 2

# No cgroups and no accounting database; what the node claims to have is believed.
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={root}/munge.sock
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
TaskProlog={root}/prolog
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
AccountingStorageType=accounting_storage/none
# squeue and scontrol know a job for as long as the tests last.
MinJobAge=7200
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,sched_min_interval=100000
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=2
CompleteWait=0
NodeName=node0 NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cpus} CoresPerSocket={cpus} RealMemory={memory} \
Gres=gpu:fake:{gpus} State=UNKNOWN
PartitionName=cpu Nodes=node0 Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=node0 MaxTime=INFINITE State=UP
"""


def missing():
    """The programs of SLURM and munge that this machine lacks."""
    return [name for name in BINARIES if which(name) is None]


def which(name):
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def until(condition, what, seconds=60):
    """Wait until `condition()` is true and return what it gave; AssertionError naming `what` after `seconds`."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, f"waited {seconds} s in vain: {what}"
        time.sleep(0.1)
    return result


class Slurm:
    """munged, slurmctld and slurmd under `root`, on free ports. As a context it starts and stops them.

    environment: what a process needs to be its client.
    """

    def __init__(self, root):
        self.root = Path(root)
        shims = self.root / "bin"
        self.environment = {
            "SLURM_CONF": str(self.root / "slurm.conf"),
            "PATH": f"{shims}:{os.environ['PATH']}:/usr/sbin:/sbin",
        }
        self._daemons = []

    def __enter__(self):
        self._write_configuration()
        # By force: other users cannot reach the folder, and need not.
        munge = ["munged", "--foreground", "--force"]
        munge += [f"--key-file={self.root}/munge.key", f"--socket={self.root}/munge.sock"]
        munge += [f"--{kind}-file={self.root}/munged.{kind}" for kind in ("pid", "log", "seed")]
        try:
            self._start(*munge)
            self._until((self.root / "munge.sock").exists, "munged")
            self._start("slurmctld", "-D", "-f", self.environment["SLURM_CONF"])
            self._start("slurmd", "-D", "-f", self.environment["SLURM_CONF"])
            self._until(lambda: "State=IDLE" in self._ask("scontrol", "show", "node", "node0"), "the node")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *error):
        try:
            self.cancel_all()
        finally:
            self._end_strays()
            self._stop()

    def _write_configuration(self):
        for folder in ("bin", "dev", "state", "spool"):
            (self.root / folder).mkdir(parents=True)
        (self.root / "state").chmod(0o700)
        key = self.root / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        facts = {"root": self.root, "user": getpass.getuser(), "host": socket.gethostname().partition(".")[0]}
        facts |= dict(zip(("controller_port", "node_port"), free_ports(2)))
        facts |= {"cpus": CPUS, "memory": MEMORY_MB, "gpus": GPUS}
        (self.root / "slurm.conf").write_text(CONFIGURATION.format(**facts))
        # A GPU must be a device file; its number is that of its name.
        for number in range(GPUS):
            (self.root / f"dev/nvidia{number}").symlink_to("/dev/null")
        gpus = f"NodeName=node0 Name=gpu Type=fake File={self.root}/dev/nvidia[0-{GPUS - 1}]\n"
        (self.root / "gres.conf").write_text(gpus)
        # Runs before each task, in its environment.
        devices = f'echo "$SLURM_JOB_ID $CUDA_VISIBLE_DEVICES" >> {self.root}/devices'
        script(self.root / "prolog", devices)
        # The plugin takes SLURM_CONF from the environment of the srun within a job, where no /etc/slurm would miss it.
        conf = self.environment["SLURM_CONF"]
        script(self.root / "bin/srun", f'SLURM_CONF={conf} exec {which("srun")} "$@"')

    def _start(self, program, *arguments):
        with (self.root / f"{program}.out").open("w") as output:
            command = [which(program), *arguments]
            environment = os.environ | self.environment
            self._daemons.append(subprocess.Popen(command, env=environment, stdout=output, stderr=output))

    def _until(self, ready, what):
        """Wait for a daemon to be ready; AssertionError with what all have said if one has ended instead."""

        def live():
            if all(daemon.poll() is None for daemon in self._daemons):
                return ready()
            raise AssertionError("\n".join(path.read_text() for path in self.root.glob("*.out")))

        until(live, f"{what} to start; logs are in {self.root}")

    def _stop(self):
        for daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def _ask(self, *command):
        """What a client answers; nothing where it fails, for one asks again."""
        environment = os.environ | self.environment
        return subprocess.run(command, env=environment, capture_output=True, text=True).stdout

    def tell(self, *command):
        """Run a client that has to succeed."""
        subprocess.run(command, env=os.environ | self.environment, check=True)

    def cancel_all(self):
        """End every job and wait until none is left on the node."""
        self.tell("scancel", f"--user={getpass.getuser()}")
        until(lambda: not self.alive(), "all jobs cancelled")

    def jobs(self, folder=None, **where):
        """SLURM's records of all jobs, those with the working directory `folder`, and with the given values."""
        records = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in self._records()]
        return [
            record
            for record in records
            if (folder is None or record["WorkDir"] == str(folder))
            and all(record[key] == value for key, value in where.items())
        ]

    def _records(self):
        return [line for line in self._ask("scontrol", "show", "job", "--oneliner").splitlines() if "JobId=" in line]

    def alive(self, folder=None):
        """Records of the jobs that wait, run or are being cleaned up."""
        return [job for job in self.jobs(folder) if job["JobState"] in ("PENDING", "RUNNING", "COMPLETING")]

    def _end_strays(self):
        """End what outlived its job: without cgroups SLURM loses sight of a process whose parent ended first."""
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended meanwhile, or is another user's
                variables = (folder / "environ").read_bytes().split(b"\0")
                of_a_job = any(variable.startswith(b"SLURM_JOB_ID=") for variable in variables)
                if of_a_job and f"PATH={self.environment['PATH']}".encode() in variables:
                    os.kill(int(folder.name), signal.SIGKILL)

    def processes(self, job):
        """Ids of the processes of a job, on the node."""
        return [int(line.split()[0]) for line in self._ask("scontrol", "listpids", job["JobId"]).splitlines()[1:]]

    def devices(self, job):
        """What CUDA_VISIBLE_DEVICES said in the tasks of a job."""
        lines = (line.partition(" ") for line in (self.root / "devices").read_text().splitlines())
        return {devices for number, _, devices in lines if number == job["JobId"]}


def rule_of(job):
    """The rule that a job was submitted for, or its group: what the folder of its log is named by."""
    return re.search(r"/slurm_logs/rule_(\w+)/|/slurm_logs/group_([a-z]+)", job["StdOut"]).expand(r"\1\2")


def most_at_once(jobs):
    """The largest number of jobs that ran at one time."""
    moments = [(datetime.fromisoformat(job["StartTime"]), 1) for job in jobs]
    # At one second an end sorts before a start.
    moments += [(datetime.fromisoformat(job["EndTime"]), -1) for job in jobs]
    running = most = 0
    for _, change in sorted(moments):
        running += change
        most = max(most, running)
    return most


def script(path, line):
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


def free_ports(number):
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
