"""Kill -9 at random moments: a whole study, and each step that makes or downloads data.

    python benchmarks/chaos.py               # make chaos
    python benchmarks/chaos.py --kills 10    # fewer kills

A study of 21 runs with its chapters and its book is made twice: undisturbed, and with kills. A kill
ends a random process of the workflow (snakemake, papermill, a kernel, jupyter-book), or all of
them, like a power cut; then the same command is started again. After every kill every file is read.
At the end all numbers must be equal to those of the undisturbed study.

After that, `python -m lite`, the expansion of the embedded suite, the writing of a cut suite and a
download are each killed several times; their files must be equal to those without kills.
"""

from __future__ import annotations

import argparse
import hashlib
import http.server
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import torch
from small_study import ROOT, clear, make_profile, results_of, runs_of, snakemake

from cosmolib.data.cmd_format import map_file
from cosmolib.study.io import read_json, read_yaml, write_json
from cosmolib.study.provenance import provenance
from cosmolib.training.predictions import read_predictions

TABLE = ROOT / "results" / "benchmarks" / "chaos.json"
PEACE, WAR = "chaos-peace", "chaos"  # names of the undisturbed and of the disturbed study
# Results of a chapter that may differ: times, and the name of the study
TIMES = re.compile(r"seconds|utc|provenance|git|duration|per_second|profile|name")
EARLY = 0.75  # largest share of the kills before the end of the last training
WHO = {  # part of the command line of a process: its name in the table
    "ipykernel": "kernel",
    "run_notebook.py": "papermill",
    "jupyter-book": "book build",
    "stage.py": "book build",
    "snakemake": "snakemake",
}
EXPAND = "from cosmolib.data.lite import expand; expand('Lite', {folder!r})"
CUT = (
    "from cosmolib.data.suites import open_suite; "
    "from cosmolib.training.dataset import write_cut_suite; "
    "write_cut_suite(open_suite('Lite'), 'kmax:4', {folder!r})"
)


# --------------------------------------------------------------------------------------------------
# The study
# --------------------------------------------------------------------------------------------------
def disturbed_study(path, kills, chance, say):
    """Make the book of a profile with kills; return counts of kills and faults, starts, seconds."""
    counts, wrong = Counter(), Counter()
    trained, done, starts, begun = {}, 0, 0, time.monotonic()
    while True:
        starts += 1
        process = snakemake(
            path, "--cores", "2", target="book", start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while process.poll() is None and done < kills:
            training = not all(run.complete for run in runs_of(path))
            if training and done >= EARLY * kills:  # keep the others for the chapters and the book
                time.sleep(0.5)
                continue
            try:
                process.wait(timeout=chance.uniform(2, 14 if training else 45))
            except subprocess.TimeoutExpired:
                hit = kill_one(process, chance)
                if hit is None:
                    continue
                done += 1
                counts[hit] += 1
                say(f"kill {done:3d}: {' of '.join(hit)}")
                inspect(path, trained, wrong)
        code = process.wait()
        if code == 0:
            if done >= kills:
                break
            # Finished before the last kill: build the book again.
            (ROOT / "build" / path.stem / "staged.json").unlink(missing_ok=True)
        elif done >= kills and starts > kills + 20:
            raise SystemExit("error: the study does not end")
    inspect(path, trained, wrong)
    return counts, wrong, starts, time.monotonic() - begun


def kill_one(process, chance):
    """Kill one process of a workflow or all; return its name and stage, None if there is none."""
    try:
        tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return None
    known = [(p, *described(p)) for p in tree]
    known = [(p, who, work) for p, who, work in known if who]
    if not known:
        return None
    victim, who, work = chance.choice(known)
    if chance.random() < 0.3:
        works = {w for _, name, w in known if name == "kernel"}
        who, work = "everything", " and ".join(sorted(works)) or work
        for p in tree:
            end(p)
    else:
        end(victim)
    return who, work


def end(process):
    try:
        process.send_signal(signal.SIGKILL)
    except psutil.NoSuchProcess:
        pass


def described(process):
    """Return the name of a process and the stage at which it works."""
    try:
        command = " ".join(process.cmdline())
        above = " ".join(" ".join(p.cmdline()) for p in process.parents()[:3])
    except psutil.Error:
        return None, None
    who = next((name for mark, name in WHO.items() if mark in command), None)
    text = command if "notebooks/" in command else above
    found = re.search(r"notebooks/(\d\d_\w+)\.ipynb", text)
    if who == "snakemake" or (found is None and who != "book build"):
        return who, "workflow"
    if who == "book build":
        return who, "book"
    return who, "training" if "/runs/" in text else found[1][3:]


def inspect(path, trained, wrong):
    """Read every file of a study; count corrupt files and runs that were trained twice."""
    for file in files_of(path.stem):
        if file.name.startswith(".") or not file.is_file():
            continue
        try:
            read_whole(file)
        except FileNotFoundError:
            pass  # it was just replaced
        except Exception as error:  # any error means a corrupt file
            wrong["corrupt files"] += 1
            print(f"corrupt: {file}: {error}", file=sys.stderr)
    for run in runs_of(path):
        weights = run.path("weights.pt")
        if weights.exists():
            when = weights.stat().st_mtime_ns
            wrong["runs trained twice"] += trained.get(run, when) != when
            trained[run] = when


def files_of(name):
    """Return all files of a study of a name."""
    folders = (f"runs/{name}", f"runs/{name}-shuffled", f"build/{name}")
    return [file for folder in folders for file in (ROOT / folder).rglob("*")]


def read_whole(file):
    """Read a file with the reader of its kind, which raises an error if it is corrupt."""
    if file.suffix in (".json", ".ipynb"):
        read_json(file)
    elif file.suffix == ".yaml":
        read_yaml(file)
    elif file.suffix == ".pt":
        torch.load(file, map_location="cpu", weights_only=True)
    elif file.name == "predictions.npz":
        read_predictions(file)
    elif file.suffix == ".npz":
        with open(file, "rb") as handle, np.load(handle, allow_pickle=False) as arrays:
            dict(arrays)


def numbers_of(name):
    """Return all numbers that the chapters of a study wrote, without times."""

    def without_times(value):
        if isinstance(value, dict):
            return {k: without_times(v) for k, v in value.items() if not TIMES.search(k)}
        return [without_times(v) for v in value] if isinstance(value, list) else value

    folder = ROOT / "runs" / name / "results"
    return {file.name: without_times(read_json(file)) for file in sorted(folder.glob("*.json"))}


def left_over(name):
    """Count the temporary files in the folders of a study."""
    hidden = re.compile(r"\..*\.[0-9a-f]{12}(\.\w+)?|\..*-\w{8}\.ipynb")
    return sum(bool(hidden.fullmatch(file.name)) for file in files_of(name))


# --------------------------------------------------------------------------------------------------
# The steps that make or download data
# --------------------------------------------------------------------------------------------------
class SlowServer(http.server.SimpleHTTPRequestHandler):
    """Serve ranges of the files of one folder at 5 MB/s."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.end_headers()
        for at in range(start, len(data), 2**18):
            try:
                self.wfile.write(data[at : at + 2**18])
            except OSError:  # the client was killed
                return
            time.sleep(0.05)

    def log_message(self, *arguments):
        pass


def killed_step(name, command, files, kills, chance, say):
    """Run a command undisturbed, then with kills until it succeeds; compare their files."""
    started = time.monotonic()
    quiet, _ = repeated(command, 0, 0.0, chance, files)
    seconds = time.monotonic() - started
    digests, done = repeated(command, kills, seconds, chance, files)
    same = bool(quiet) and digests == quiet
    say(f"{name}: {done} kills, {len(digests)} files, {'the same' if same else 'OTHER'} bytes")
    return {"what": name, "kills": done, "files": len(digests), "equal": same}


def repeated(command, kills, seconds, chance, files):
    """Run a command until it succeeds, with kills during its `seconds`; return digests of files."""
    done = 0
    folder = tempfile.mkdtemp(prefix="chaos-")
    try:
        while True:
            process = subprocess.Popen(
                command(folder), cwd=ROOT, start_new_session=True,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )  # fmt: skip
            try:
                wait = chance.uniform(0.2, 0.9) * seconds if done < kills else 600
                _, errors = process.communicate(timeout=wait)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                done += 1
                continue
            if process.returncode:
                raise SystemExit(f"error: {command(folder)}: {errors.decode()[-1000:]}")
            if done >= kills:
                break
            shutil.rmtree(folder)  # it ended before the last kill
            os.mkdir(folder)
        found = sorted(Path(folder).rglob(files))
        for file in found:
            map_file(file)
        return [hashlib.sha256(file.read_bytes()).hexdigest() for file in found], done
    finally:
        shutil.rmtree(folder)


def data_steps(kills, chance, say):
    """Kill each step that makes or downloads maps; return one row per step."""
    python = sys.executable
    small = ["--rows", "0:3", "--particles", "32", "--mesh", "64", "--grid", "32"]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "2D_maps" / "data" / "IllustrisTNG"
        source.mkdir(parents=True)
        maps = np.random.default_rng(0).uniform(1e10, 1e12, (15 * 40, 128, 128))
        np.save(source / "Maps_Mtot_IllustrisTNG_LH_z=0.00.npy", maps.astype(np.float32))
        np.savetxt(source / "params_LH_IllustrisTNG.txt", np.full((40, 6), 0.5))
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), lambda *a: SlowServer(*a, directory=folder)
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        fetch = [python, "-m", "cosmolib.cli", "download", "--suite", "IllustrisTNG", "--url", url]
        steps = {
            "simulate": lambda out: [python, "-m", "lite", "--out", out, *small,
                                     "--check-rows", "0"],
            "expand the embedded suite": lambda out: [python, "-c", EXPAND.format(folder=out)],
            "write a cut suite": lambda out: [python, "-c", CUT.format(folder=out)],
            "download": lambda out: [*fetch, "--data-dir", out],
        }  # fmt: skip
        rows = [
            killed_step(name, command, "Maps_*.npy", kills, chance, say)
            for name, command in steps.items()
        ]
        server.shutdown()
    return rows


# --------------------------------------------------------------------------------------------------
def main(argv=None):
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="kills of the study (default: 50)")
    parser.add_argument("--step-kills", type=int, default=5, help="kills per step (default: 5)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the moments (default: 1)")
    parser.add_argument("--keep", action="store_true", help="reuse an existing undisturbed study")
    parser.add_argument("--table", type=Path, default=TABLE, help="file of the result")
    asked = parser.parse_args(argv)
    chance = random.Random(asked.seed)

    def say(line):
        print(line, flush=True)

    clear(WAR)
    if not asked.keep:
        clear(PEACE)
    peace, war = make_profile(PEACE), make_profile(WAR)
    started = time.monotonic()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if snakemake(peace, "--cores", "2", target="book", **quiet).wait():
        raise SystemExit("error: the undisturbed study failed")

    seconds = time.monotonic() - started
    counts, wrong, starts, war_seconds = disturbed_study(war, asked.kills, chance, say)
    expected, found = results_of(peace), results_of(war)
    quiet_numbers, numbers = numbers_of(PEACE), numbers_of(WAR)
    result = {
        "kills": sum(counts.values()),
        "starts": starts,
        "runs": len(expected),
        "runs_lost": sum(value is None for value in found.values()),
        "runs_equal": sum(found[key] == expected[key] for key in expected),
        "corrupt_files": wrong["corrupt files"],
        "runs_trained_twice": wrong["runs trained twice"],
        "left_over_files": left_over(WAR),
        "chapters": len(quiet_numbers),
        "chapters_equal": sum(numbers.get(key) == quiet_numbers[key] for key in quiet_numbers),
        "seconds_in_peace": round(seconds),
        "seconds": round(war_seconds),
        "rows": [
            {"who": who, "work": work, "kills": count}
            for (who, work), count in sorted(counts.items())
        ],
    }
    result["steps"] = data_steps(asked.step_kills, chance, say)
    result["provenance"] = provenance()
    print(json.dumps({k: v for k, v in result.items() if k != "provenance"}, indent=1))
    write_json(asked.table, result)
    good = result["runs_equal"] == result["runs"] and not result["corrupt_files"]
    good = good and result["chapters_equal"] == result["chapters"]
    return 0 if good and all(row["equal"] for row in result["steps"]) else 1


if __name__ == "__main__":
    sys.exit(main())
