"""Without a network: what summary statistics of the same maps tell, by a quadratic ridge."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cosmolib.cuts.grammar import folder_name
from cosmolib.data.spectra import summary_statistics
from cosmolib.data.suites import Suite, map_indices
from cosmolib.study.identity import identity
from cosmolib.study.profile import Profile
from cosmolib.training.dataset import BLOCK, cut_maps, fill_range, study_split, truth_of
from cosmolib.training.predictions import as_predictions, stored_predictions

RIDGE_ALPHAS = np.logspace(-1, 5, 13)  # strengths of the ridge that the validation maps choose from


def summary_baseline(suite: Suite, profile: Profile, cut="none") -> dict:
    """Predict the test maps from summary statistics, with no network: a quadratic ridge.

    `cosmolib.data.spectra.summary_statistics` of the maps under the same cut (mean, power spectra
    of delta and of the log, pixel quantiles), standardised, with all their squares and products. It
    is fitted on the training maps of the same split; the validation maps choose its strength, for
    each parameter, as they choose the network's epoch, and their residuals are its constant std.

    Parameters
    ----------
    suite : Suite
    profile : Profile
        Its split, its targets and the scope of its random fills.
    cut : str or Cut

    Returns
    -------
    dict
        As `predict_test`.
    """
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    split = study_split(suite, profile)
    value_range = fill_range(suite, profile, cut)
    scaler, square = StandardScaler(), PolynomialFeatures(2, include_bias=False)

    def features(simulations):
        maps = map_indices(simulations)
        blocks = (maps[start : start + BLOCK] for start in range(0, len(maps), BLOCK))
        tables = [
            summary_statistics(cut_maps(suite, block, cut, value_range), suite.box_size)[0]
            for block in blocks
        ]
        return maps, np.concatenate(tables)

    train, found = features(split.train)
    scaler.fit(found)

    def quadratic(found):
        # A statistic that a cut makes all but constant in training may be far off in a test map:
        # its square would be without bounds.
        return square.fit_transform(np.clip(scaler.transform(found), -5, 5))

    x, y = quadratic(found), truth_of(suite, train, profile.targets)
    valid, found = features(split.valid)
    valid_x, valid_y = quadratic(found), truth_of(suite, valid, profile.targets)
    test, found = features(split.test)
    models = [Ridge(alpha).fit(x, y) for alpha in RIDGE_ALPHAS]
    errors = [((m.predict(valid_x).reshape(valid_y.shape) - valid_y) ** 2).mean(0) for m in models]
    best = np.argmin(errors, axis=0)  # (P,)
    outputs = [m.predict(quadratic(found)).reshape(len(test), -1) for m in models]
    columns = range(len(best))
    mean = np.stack([outputs[best[p]][:, p] for p in columns], axis=1)
    std = np.sqrt([errors[best[p]][p] for p in columns])
    truth = truth_of(suite, test, profile.targets)
    return as_predictions(mean, np.tile(std, (len(test), 1)), truth, test, profile.targets)


def stored_baseline(suite, profile: Profile, cut: str, runs_dir: str | Path) -> dict:
    """Predictions of the summary-statistics baseline, made once and kept next to the runs.

    They lie in ``<runs_dir>/<profile>/<suite>/<cut>/summary/predictions.npz``.
    """
    now = identity("baseline", profile, fingerprint=suite.fingerprint, suite=suite.name, cut=cut)
    folder = Path(runs_dir) / profile.name / suite.name / folder_name(cut) / "summary"
    return stored_predictions(folder, now, lambda: summary_baseline(suite, profile, cut))
