"""Copy the complete runs of a study to the repository: `python workflow/store.py reference`.

They are copied from ``runs/<profile>/`` to ``results/<profile>/`` in the same layout, so that
``runs_dir="results"`` reads them, with the predictions from summary statistics and the tables of
chapters 04 to 07. Predictions are compressed, in float32. Weights are kept for the runs that
chapters explain or test on other suites: those of uncut maps, with and without noise, and those of
gravity-only maps.
"""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from cosmolib.cuts.grammar import Cut  # noqa: E402
from cosmolib.study.io import atomic_path  # noqa: E402
from cosmolib.study.profile import load_profile  # noqa: E402
from cosmolib.training.predictions import read_predictions  # noqa: E402
from workflow.runs import study_runs  # noqa: E402

KEPT = ("config.yaml", "history.csv", "provenance.json", "metrics.json")  # metrics last


def store_predictions(source, target) -> None:
    """Write a compressed copy of a file of predictions, in float32."""
    arrays = read_predictions(source)
    small = {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in arrays.items()}
    with atomic_path(target) as temporary:
        np.savez_compressed(temporary, **small)


def store(run, kept) -> None:
    """Copy the files of a complete run to the folder of `kept`."""
    store_predictions(run.path("predictions.npz"), kept.path("predictions.npz"))
    used = Cut.parse(run.cut).kind == "none" or run.suite.startswith("Nbody_")
    for name in (*(["weights.pt"] if used else []), *KEPT):
        shutil.copyfile(run.path(name), kept.path(name))


def main(profile: str, runs_dir: str = "runs", results: str = "results") -> None:
    """Copy all complete runs of a profile."""
    runs = study_runs(load_profile(profile), runs_dir)
    complete = [run for run in runs if run.complete]
    for run in complete:
        store(run, replace(run, root=results))
    for path in Path(runs_dir, profile).glob("*/*/summary*/predictions.npz"):
        store_predictions(path, Path(results) / path.relative_to(runs_dir))
    tables = sorted(Path(runs_dir, profile, "results").glob("0[4-7]*.json"))
    for table in tables:
        shutil.copyfile(table, Path(results, profile, table.name))
    print(f"Copied {len(complete)} of {len(runs)} runs and {len(tables)} tables to {results}/.")


if __name__ == "__main__":
    main(*sys.argv[1:])
