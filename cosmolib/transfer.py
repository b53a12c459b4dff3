"""What a network that was trained on one suite says of another.

The parts of the split are the same simulations, so that of index-matched twins none was seen in
training. The network speaks in units of the ranges, and reads maps in the scaling, that it was
trained with.
"""

from __future__ import annotations

from cosmolib.evaluation import as_predictions, load_run, predict
from cosmolib.inputs import MapsOnDisk, denormalise, study_split, study_suite, truth_of
from cosmolib.runs import Profile, Run
from cosmolib.suites import Suite, map_indices
from cosmolib.training import select_device


def cross_evaluate(run: Run, other: Suite | str, device: str | None = None) -> dict:
    """Predict the test simulations of another suite with a run's network, cut and scaling.

    The split is the same, so that for index-matched twins no simulation was seen in training.

    Parameters
    ----------
    run : Run
        Complete.
    other : Suite or str
        A suite with as many simulations as the run had, or its name.

    Returns
    -------
    dict
        As `predict_test`.
    """
    network, scaling, config = load_run(run)
    profile = Profile(**config["profile"])
    suite = study_suite(other, profile) if isinstance(other, str) else other
    if suite.grid != config["network"]["size"]:
        size = config["network"]["size"]
        raise ValueError(f"{suite.maps_path}: found {suite.grid}^2 maps, expected {size}^2")
    maps = map_indices(study_split(suite, profile).test)
    x = MapsOnDisk(suite, maps, run.cut, config["value_range"], scaling)
    outputs = predict(network, x, device=device or select_device())
    # The network speaks in units of the ranges that it was trained with.
    mean, std = denormalise(*outputs, run.suite, profile.targets)
    return as_predictions(mean, std, truth_of(suite, maps, profile.targets), maps, profile.targets)
