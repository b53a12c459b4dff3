"""Test that the stored reference study can be read and that its recipe is the current one."""

from pathlib import Path

import pandas as pd
import pytest

from cosmolib.results.table import read_table
from cosmolib.study.profile import load_profile
from cosmolib.study.run import Run
from cosmolib.training.dataset import prepare_data, study_suite
from cosmolib.training.fit import fit, seeded
from cosmolib.training.networks import build_network
from cosmolib.training.predictions import read_predictions
from cosmolib.training.run import load_run
from cosmolib.training.scores import r2_of
from workflow.runs import study_runs

RESULTS = Path(__file__).parents[1] / "results"
FIRST = Run("reference", "Lite", "none", "lite", 1, RESULTS)


@pytest.fixture(scope="module")
def profile():
    return load_profile("reference")


def test_stored_runs_give_the_stored_table(profile):
    table = read_table(RESULTS / "reference" / "06_results.json")
    kept = [run for run in study_runs(profile, RESULTS) if run.complete]
    assert table["n_runs"] <= len(kept)
    for row in (*table["rows"], *table["control_rows"]):
        about = "reference", row["suite"], row["cut"], "lite"
        runs = [Run(*about, seed, RESULTS) for seed in row["seeds"]]
        tables = [read_predictions(run.path("predictions.npz")) for run in runs]
        summary = read_predictions(runs[0].folder.with_name("summary") / "predictions.npz")
        for key, found in (("r2", tables), ("baseline", [summary])):
            again = r2_of(found, n_bootstrap=2)
            for name, estimate in row[key].items():
                assert again[name]["value"] == pytest.approx(estimate["value"], abs=1e-4)


def test_feedback_is_visible_in_lite_strong_only():
    visible = read_table(RESULTS / "reference" / "06_results.json")["feedback"]
    assert 0.3 < visible["Lite_strong"]["r2"]["A_SN1"]["value"] < 0.6
    assert max(x["value"] for x in visible["Lite"]["r2"].values()) < 0.1


def test_stored_weights_give_the_stored_predictions():
    """`load_run` loads the weights of older code only if they give the stored predictions."""
    network, _, config = load_run(FIRST)
    assert network.blocks[0][0].out_channels == 4 * config["profile"]["hidden"]


def test_the_recipe_is_that_of_the_reference(profile):
    """Repeat the first epoch of one run; its loss and learning rate must be the stored ones."""
    stored = pd.read_csv(FIRST.path("history.csv"))

    class Enough(Exception):
        pass

    def stop(row):
        raise Enough(row)

    data = prepare_data(study_suite("Lite", profile), profile)
    with seeded(1):
        network = build_network("lite", 64, profile.hidden, profile.dropout, 2)
    eager = profile.replace(compile="eager", precision="float32")
    with pytest.raises(Enough) as caught:
        fit(network, data, eager, seed=1, epoch_callback=stop)
    (row,) = caught.value.args
    assert row["lr"] == pytest.approx(stored["lr"][0], rel=1e-6)
    assert row["train_loss"] == pytest.approx(stored["train_loss"][0], abs=0.15)
