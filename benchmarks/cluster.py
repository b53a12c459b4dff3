"""Rehearse a cluster: 21 runs through a real SLURM on two virtual nodes, one of them drained.

    python benchmarks/cluster.py        # make bench-cluster

It needs SLURM's daemons (Debian: apt install slurmctld slurmd slurm-client munge) and `.[slurm]`.
Controller, two node daemons and munge are started in a temporary folder and stopped at the end. The
workflow uses the profile of the repository, workflow/profiles/slurm, without GPUs. When half of the
runs are done, one node is drained, as by an administrator, and a job on the other node is killed,
as by a failing node. The metrics must equal those of the same study without SLURM.
"""

from __future__ import annotations

import argparse
import getpass
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from small_study import ROOT, clear, make_profile, results_of, runs_of, snakemake

from cosmolib.study.io import write_json
from cosmolib.study.provenance import provenance

TABLE = ROOT / "results" / "benchmarks" / "cluster.json"
NODES = ("node1", "node2")
CONFIG = """\
ClusterName=rehearsal
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MinJobAge=86400
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={port1} CPUs=2 RealMemory=8000
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={port2} CPUs=2 RealMemory=8000
PartitionName=rehearsal Nodes=node1,node2 Default=YES State=UP
"""
NEEDED = ("munged", "slurmctld", "slurmd", "scontrol", "sinfo", "sbatch")


class Cluster:
    """A SLURM controller and two nodes on this machine, with all files in one folder."""

    def __init__(self, folder, port=16817):
        self.folder = Path(folder)
        (self.folder / "state").mkdir()
        values = {"host": platform.node(), "user": getpass.getuser(), "folder": folder}
        values |= {"port": port, "port1": port + 1, "port2": port + 2}
        (self.folder / "slurm.conf").write_text(CONFIG.format(**values))
        os.environ["SLURM_CONF"] = str(self.folder / "slurm.conf")
        # Jobs do not inherit the name of a configuration that is not the system's: set it in srun.
        srun = self.folder / "bin" / "srun"
        srun.parent.mkdir()
        srun.write_text(
            f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {shutil.which("srun")} "$@"\n'
        )
        srun.chmod(0o755)
        os.environ["PATH"] = f"{srun.parent}:{os.environ['PATH']}"
        self.daemons = []

    def start(self):
        """Start all daemons and wait until both nodes are idle."""
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        names = ("socket", "pid", "log", "seed")
        options = [
            f"--{n}{'' if n == 'socket' else '-file'}={self.folder}/munge.{n}" for n in names
        ]
        self._daemon("munged", "--foreground", "--force", f"--key-file={key}", *options)
        time.sleep(1)
        self._daemon("slurmctld", "-D")
        time.sleep(1)
        for node in NODES:
            self._daemon("slurmd", "-D", "-N", node)
        for _ in range(60):
            if self.run("sinfo", "-h", "-o", "%T %D").strip() == "idle 2":
                return
            time.sleep(1)
        raise SystemExit(f"error: the nodes did not come up:\n{self.run('sinfo')}")

    def stop(self):
        """Stop all daemons."""
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in self.daemons:
            daemon.wait()

    def _daemon(self, *command):
        log = open(self.folder / f"{command[0]}-{len(self.daemons)}.out", "w")
        self.daemons.append(subprocess.Popen(command, stdout=log, stderr=log))

    def run(self, *command):
        """Run a command and return its output."""
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def jobs(self):
        """Return id, state, node and start [s] of every job."""
        found = []
        for block in self.run("scontrol", "-o", "show", "job").splitlines():
            fields = dict(re.findall(r"(\w+)=(\S*)", block))
            if "JobId" in fields:
                start = fields["StartTime"]
                begun = start not in ("Unknown", "N/A", "None")
                start = time.mktime(time.strptime(start, "%Y-%m-%dT%H:%M:%S")) if begun else None
                node = fields.get("NodeList", "")
                found.append((fields["JobId"], fields["JobState"], node, start))
        return found


def main(argv=None):
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, default=TABLE, help="file of the result")
    parser.add_argument("--grouped", type=int, default=2, help="runs per job (default: 2)")
    parser.add_argument("--keep", action="store_true", help="reuse an existing study without SLURM")
    asked = parser.parse_args(argv)
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        print(f"error: these programs of SLURM are missing: {', '.join(missing)}", file=sys.stderr)
        return 2
    clear("cluster")
    if not asked.keep:
        clear("cluster-alone")
    there, alone = make_profile("cluster"), make_profile("cluster-alone")
    if snakemake(alone, "--cores", "2").wait():
        return 1
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
        cluster = Cluster(folder)
        cluster.start()
        try:
            result = rehearse(cluster, there, asked.grouped)
        finally:
            cluster.stop()
    expected, found = results_of(alone), results_of(there)
    result["equal"] = sum(found[key] == expected[key] for key in expected)
    result["provenance"] = provenance()
    for key, value in result.items():
        if key != "provenance":
            print(f"{key:>24}: {value}")
    write_json(asked.table, result)
    good = result["equal"] == result["runs"] and not result["begun_on_drained"]
    return 0 if good and result["exit_code"] == 0 else 1


def rehearse(cluster, path, grouped):
    """Run the study, drain a node when half of the runs are done, kill a job on the other node."""
    started = time.time()
    rules = ("training_run", "shuffled_run")
    process = snakemake(
        path, "--workflow-profile", "workflow/profiles/slurm", "--slurm-no-account",
        "--default-resources", "slurm_partition=rehearsal", "cpus_per_task=1", "mem_mb=1500",
        "runtime=20",
        "--set-resources", *(f"{r}:{k}" for r in rules for k in ("gpu=0", "mem_mb=1500")),
        "--group-components", f"trainings={grouped}", "--latency-wait", "20",
        "--slurm-status-command", "squeue",  # sacct would need accounting

        "--slurm-init-seconds-before-status-checks", "5", "--jobs", "8",
    )  # fmt: skip
    runs = runs_of(path)
    drained = killed = None
    while process.poll() is None:
        time.sleep(0.5)
        if drained is None and sum(run.complete for run in runs) >= len(runs) // 2:
            drained = time.time()
            cluster.run("scontrol", "update", "NodeName=node2", "State=DRAIN", "Reason=rehearsal")
        if drained and killed is None:
            running = [j for j in cluster.jobs() if j[1] == "RUNNING" and j[2] == "node1"]
            if running:
                killed = running[0][0]
                cluster.run("scancel", "--signal=KILL", "--full", killed)
    jobs = cluster.jobs()
    return {
        "slurm": cluster.run("slurmd", "-V").strip(),
        "runs": len(runs),
        "done": sum(run.complete for run in runs),
        "jobs": len(jobs),
        "runs_a_job": grouped,
        "jobs_by_node": {node: sum(job[2] == node for job in jobs) for node in NODES},
        "job_states": {
            state: sum(j[1] == state for j in jobs) for state in sorted({j[1] for j in jobs})
        },
        "killed_job": killed is not None,
        "drained_after_s": None if drained is None else round(drained - started),
        # SLURM's clock has whole seconds
        "begun_on_drained": sum(
            job[2] == "node2" and job[3] is not None and drained and job[3] > drained + 1
            for job in jobs
        ),
        "exit_code": process.returncode,
        "seconds": round(time.time() - started),
    }


if __name__ == "__main__":
    sys.exit(main())
