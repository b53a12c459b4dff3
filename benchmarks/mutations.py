"""Check that the tests find deliberate faults: ``mutations.py [--only N ...]``.

Each fault of `FAULTS` replaces a piece of text in the core of `cosmolib`. The faults are inserted
one by one into a temporary copy of the repository, and the tests that should find them are run. One
line per fault reports the outcome; the exit code is 1 if a fault was not found, and 2 if the tests
fail without any fault.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
GENERATED = ("build", "_build", "runs")
LINKED = ("data", "results")  # large folders that are not changed
TIME_LIMIT = 900  # [s] for the tests of one fault; a hanging test counts as found


class Fault(NamedTuple):
    """A deliberate fault.

    Attributes
    ----------
    what : str
        Description of the fault.
    package : str
        Sub-package of cosmolib; the text occurs exactly once in it.
    old, new : str
        The correct text and the wrong one.
    tests : tuple of str
        Names of the test modules that should find it, without ``test_``.
    """

    what: str
    package: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def path(self):
        """File that contains the correct text."""
        found = [
            path
            for path in sorted((ROOT / "cosmolib" / self.package).glob("*.py"))
            for _ in range(path.read_text(encoding="utf-8").count(self.old))
        ]
        if len(found) != 1:
            raise ValueError(
                f"{self.package}: found {self.old!r} {len(found)} times, expected once"
            )
        return found[0]


FAULTS = [
    # study
    Fault("a run is complete without its metrics", "study",
          'self.path("metrics.json").is_file()', "self.folder.is_dir()", ("runs",)),
    Fault("only the first seed of a study is run", "study",
          "self.seeds if repeat else", "self.seeds[:1] if repeat else", ("status",)),
    Fault("changed settings do not make a run stale", "study",
          "elif old != new:", "elif old != old:", ("identity",)),
    Fault("the width of the network is not part of a run's identity", "study",
          '"storage", "hidden", "dropout",', '"storage", "dropout",', ("identity",)),
    Fault("unknown keys of a profile are ignored", "study",
          'extra="forbid"', 'extra="ignore"', ("profile",)),
    Fault("files are not written atomically", "study",
          "        yield temporary\n", "        temporary = path\n        yield path\n",
          ("runs",)),
    Fault("locks are not taken", "study",
          "        lock.acquire(timeout=0)\n", "        pass\n", ("locks",)),
    # data
    Fault("a training simulation is also used for validation", "data",
          "order[n_train : n_train + n_valid]", "order[n_train - 1 : n_train + n_valid]",
          ("suites", "inputs")),
    Fault("maps belong to the wrong simulation", "data",
          "return map_index // MAPS_PER_SIMULATION",
          "return (map_index + 1) // MAPS_PER_SIMULATION", ("suites", "inputs")),
    Fault("the fingerprint of a suite ignores its parameters", "data",
          "digest.update(np.ascontiguousarray(self.params).tobytes())", "pass", ("suites",)),
    Fault("power spectra have the wrong normalisation", "data",
          "power *= (box_size / grid**2) ** 2", "power *= box_size / grid**2", ("spectra",)),
    Fault("modes that occur twice are counted twice", "data",
          "~(doubled & (i < 0))", "~(doubled & (i < -grid))", ("spectra",)),
    Fault("the transform loses the sign of negative pixels", "data",
          "np.where(values < 0, -magnitude, magnitude)", "magnitude", ("scaling",)),
    Fault("a scaling is undone with the wrong sign of its mean", "data",
          "* self.std + self.mean", "* self.std - self.mean", ("scaling",)),
    # cuts
    Fault("Fourier cuts remove the mean of the map", "cuts",
          "kept[0, 0] = True", "kept[0, 0] = False", ("cuts",)),
    Fault("a mode on the edge of a Fourier cut is on the wrong side", "cuts",
          "(edge * (1 - EDGE_TOLERANCE)", "(edge * (1 + EDGE_TOLERANCE)", ("cuts",)),
    Fault("pixels on the threshold are cut", "cuts",
          "hidden = pixels > threshold if", "hidden = pixels >= threshold if", ("cuts",)),
    Fault("overdensity thresholds are relative to zero", "cuts",
          "(1 + cut.threshold) * mean", "cut.threshold * mean", ("cuts",)),
    Fault("all maps have the same random fills", "cuts",
          "default_rng([seed, index, stream])", "default_rng([seed, stream])", ("cuts",)),
    Fault("a Fourier cut mixes maps: wrong axis", "cuts",
          "torch.fft.fft(modes, dim=1)", "torch.fft.fft(modes, dim=0)", ("cuts",)),
    Fault("all maps have the same noise", "cuts",
          "default_rng([seed, index, _STREAM])", "default_rng([seed, _STREAM])", ("cuts",)),
    # training
    Fault("wrong sign in the loss", "training",
          "((square - std**2) ** 2).mean(0)", "((square + std**2) ** 2).mean(0)", ("training",)),
    Fault("dropout and batch statistics are active in evaluation", "training",
          "network.to(device).eval()", "network.to(device)", ("training", "networks")),
    Fault("the worst validation epoch is kept", "training",
          "valid_loss < min(row", "valid_loss > min(row", ("training",)),
    Fault("the learning rate is one epoch ahead", "training",
          "learning_rate((epoch - 1) * steps", "learning_rate(epoch * steps",
          ("training", "recipe")),
    Fault("labels are in the wrong order", "training",
          "part.repeat(MAPS_PER_SIMULATION, 0)", "np.tile(part, (MAPS_PER_SIMULATION, 1))",
          ("inputs",)),
    Fault("validation maps are part of the scaling", "training",
          "np.arange(len(parts[0]))", "np.arange(len(maps))", ("leaks",)),
    Fault("maps are padded with zeros", "training",
          'padding=1, padding_mode="circular")', 'padding=1, padding_mode="zeros")',
          ("networks", "published")),
    Fault("R2 of a resampling uses the mean of all maps", "training",
          "average(centred**2, weights) - average(centred, weights) ** 2",
          "average(centred**2, weights)", ("evaluation",)),
    Fault("the ends of intervals are swapped", "training",
          "np.nanpercentile(values, (2.5, 97.5)", "np.nanpercentile(values, (97.5, 2.5)",
          ("evaluation",)),
    Fault("intervals resample maps, not simulations", "training",
          "numbers, place = np.unique(simulations, return_inverse=True)",
          "numbers, place = np.unique(np.arange(len(simulations)), return_inverse=True)",
          ("evaluation",)),
    # tuning
    Fault("a trial is judged by its last epoch", "tuning",
          "return min(losses)", "return losses[-1]", ("tuning",)),
    Fault("trials at an edge of the range are not flagged", "tuning",
          "if not margin < place < 1 - margin:", "if not -margin < place < 1 + margin:",
          ("tuning",)),
    # interpretation
    Fault("steps of raised precision are all on one side of the path", "interpretation",
          "for sign in (-1, 1)]", "for sign in (1, 1)]", ("attribution",)),
    Fault("completeness is measured with the wrong sign", "interpretation",
          "values.sum((1, 2), dtype=np.float64) - difference",
          "values.sum((1, 2), dtype=np.float64) + difference", ("attribution",)),
    Fault("the under-dense share is that of the over-dense pixels", "interpretation",
          "total[..., 0] / total.sum(-1)", "total[..., 1] / total.sum(-1)",
          ("summaries",)),
    # results
    Fault("a claim is supported if part of its interval is", "results",
          'near, far = ("low", "high") if above', 'far, near = ("low", "high") if above',
          ("claims",)),
    Fault("a claim about feedback is judged where feedback is invisible", "results",
          "r2) < VISIBLE_R2", "r2) < -VISIBLE_R2", ("claims",)),
    # validation
    Fault("the exact posterior ignores the number of modes", "validation",
          "(np.log(model) @ count)", "np.log(model).sum(1)", ("fields",)),
    Fault("coverage counts the maps outside of the interval", "validation",
          "(reached[:, :, None] < np.asarray(levels))",
          "(reached[:, :, None] > np.asarray(levels))", ("calibration",)),
]  # fmt: skip


def run_tests(names, copy, **options):
    """Run test modules of a copy of the repository until the first failure; return the process."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    command += [f"tests/test_{name}.py" for name in names]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        command, cwd=copy, env=environment, capture_output=True, text=True, check=False, **options
    )


def is_found(fault, copy):
    """Insert a fault into a copy of the repository, run its tests and remove it again."""
    path = copy / fault.path.relative_to(ROOT)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(fault.old, fault.new), encoding="utf-8")
    try:
        done = run_tests(fault.tests, copy, timeout=TIME_LIMIT)
    except subprocess.TimeoutExpired:
        return True
    finally:
        path.write_text(text, encoding="utf-8")
    if done.returncode > 2:  # pytest found no tests, or was used wrongly
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    return done.returncode != 0


def main(arguments=None):
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=int, nargs="+", metavar="N", help="faults, numbered from 1")
    only = parser.parse_args(arguments).only or range(1, len(FAULTS) + 1)
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "repository")
        copy.mkdir()
        for path in ROOT.iterdir():
            if path.name in LINKED:
                (copy / path.name).symlink_to(path)
            elif path.name in GENERATED or path.name.startswith("."):
                continue
            elif path.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "mathjax")
                shutil.copytree(path, copy / path.name, ignore=ignored)
            else:
                shutil.copy2(path, copy)
        done = run_tests(sorted({name for n in only for name in FAULTS[n - 1].tests}), copy)
        if done.returncode:
            print(done.stdout[-2000:], "error: tests fail without any fault", sep="\n")
            return 2
        for number in only:
            fault, start = FAULTS[number - 1], time.monotonic()
            found = is_found(fault, copy)
            missed += not found
            verdict = "seen    " if found else "NOT SEEN"
            seconds = time.monotonic() - start
            print(
                f"{number:2d} {verdict} {seconds:4.0f} s  {fault.package}: {fault.what}", flush=True
            )
    print(f"{len(only) - missed} of {len(only)} faults were found")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
