"""Predict parameters from summary statistics of the maps, without a network."""

from pathlib import Path

import numpy as np

from cosmolib.cuts.grammar import folder_name
from cosmolib.data.cmd_format import PARAMETERS
from cosmolib.data.spectra import summary_statistics
from cosmolib.data.suites import Suite, map_indices
from cosmolib.study.identity import identity
from cosmolib.study.profile import Profile
from cosmolib.training.dataset import BLOCK, cut_maps, fill_range, study_split, truth_of
from cosmolib.training.predictions import as_predictions, stored_predictions
from cosmolib.training.scores import COSMOLOGY, r2_of

RIDGE_ALPHAS = np.logspace(-1, 5, 13)  # penalties; the validation maps choose one
KERNEL_MAPS = 600  # components; twice as many increase R2 on Lite by less than 0.005
KERNEL_GAMMA = 0.1  # divided by the number of statistics; exp(-0.2) between two typical maps
KERNEL_WEIGHT = 30.0  # relative to the linear terms, which the penalty shrinks as well


def summary_baseline(suite: Suite, profile: Profile, cut="none") -> dict:
    """Predict the test maps from summary statistics by kernel ridge regression.

    The features are the standardised `cosmolib.data.spectra.summary_statistics` of the maps under
    the cut (mean, power spectra, quantiles, moments, peaks and minima, scattering-like variances)
    and `KERNEL_MAPS` components that approximate a Gaussian kernel (Nystroem method). The
    regression is fitted to the training maps of the study's split. The validation maps choose the
    penalty for each parameter, as they choose the epoch of a network; their residuals give the
    standard deviation, which is the same for all maps.

    Parameters
    ----------
    suite : Suite
    profile : Profile
        Provides the split, the targets and the scope of random fills.
    cut : str or Cut

    Returns
    -------
    dict
        As from `cosmolib.training.predictions.predict`.
    """
    from sklearn.kernel_approximation import Nystroem
    from sklearn.pipeline import FeatureUnion, make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    split = study_split(suite, profile)
    value_range = fill_range(suite, profile, cut)

    def features(simulations):
        maps = map_indices(simulations)
        blocks = np.split(maps, range(BLOCK, len(maps), BLOCK))
        pixels = (cut_maps(suite, block, cut, value_range) for block in blocks)
        return maps, np.concatenate([summary_statistics(x, suite.box_size)[0] for x in pixels])

    train, found = features(split.train)
    components = min(KERNEL_MAPS, len(found))
    kernel = Nystroem(gamma=KERNEL_GAMMA / found.shape[1], n_components=components, random_state=0)
    both = [("linear", "passthrough"), ("kernel", kernel)]
    expansion = make_pipeline(
        StandardScaler(),
        # A cut can make a statistic nearly constant in training and far from it in a test map.
        FunctionTransformer(np.clip, kw_args={"a_min": -5, "a_max": 5}),
        FeatureUnion(both, transformer_weights={"kernel": KERNEL_WEIGHT}),
    )
    predict = _ridge_path(expansion.fit_transform(found), truth_of(suite, train, profile.targets))
    valid, found = features(split.valid)
    means = predict(expansion.transform(found))  # (alphas, m, P)
    errors = ((means - truth_of(suite, valid, profile.targets)) ** 2).mean(1)  # (alphas, P)
    best, columns = np.argmin(errors, axis=0), np.arange(errors.shape[1])
    std = np.sqrt(errors[best, columns])

    def chosen(means, maps):
        truth, mean = truth_of(suite, maps, profile.targets), means[best, :, columns].T
        return as_predictions(mean, np.tile(std, (len(maps), 1)), truth, maps, profile.targets)

    test, found = features(split.test)
    part = {f"valid_{key}": value for key, value in chosen(means, valid).items()}
    return chosen(predict(expansion.transform(found)), test) | part


def _ridge_path(x, y):
    """Fit ridge regressions with all `RIDGE_ALPHAS` at once; return their prediction function.

    The function maps features (m, F) to predictions (penalties, m, P).
    """
    centre, offset = x.mean(0), y.mean(0)
    values, vectors = np.linalg.eigh((x - centre).T @ (x - centre))
    projected = vectors.T @ ((x - centre).T @ (y - offset))  # (F, P)
    weights = np.stack([projected / (np.maximum(values, 0) + a)[:, None] for a in RIDGE_ALPHAS])
    return lambda other: ((other - centre) @ vectors) @ weights + offset


def stored_baseline(
    suite, profile: Profile, cut: str, runs_dir: str | Path, name: str = "summary"
) -> dict:
    """Return the predictions of `summary_baseline`, which are computed once and stored.

    The file is ``<runs_dir>/<profile>/<suite>/<cut>/<name>/predictions.npz``.
    """
    now = identity("baseline", profile, fingerprint=suite.fingerprint, suite=suite.name, cut=cut)
    folder = Path(runs_dir) / profile.name / suite.name / folder_name(cut) / name
    return stored_predictions(folder, now, lambda: summary_baseline(suite, profile, cut))


def feedback_trace(suite: Suite, twin: Suite, profile: Profile, runs_dir: str | Path) -> dict:
    """Measure how visible feedback is in the maps: invisible feedback cannot mislead a network.

    Parameters
    ----------
    suite, twin : Suite
        A suite with feedback and its gravity-only twin.
    profile : Profile
    runs_dir : path
        Folder in which the predictions are stored.

    Returns
    -------
    dict
        ``rms_dex``: root mean square of log10(suite / twin) over the pixels of the test maps;
        ``r2``: {feedback parameter: estimate} of summary statistics.
    """
    maps = map_indices(study_split(suite, profile).test)
    squares = [np.square(np.log10(suite.maps[i] / twin.maps[i], dtype=np.float64)) for i in maps]
    feedback = profile.model_copy(update={"targets": [x for x in PARAMETERS if x not in COSMOLOGY]})
    found = [stored_baseline(suite, feedback, "none", runs_dir, "summary-feedback")]
    return {
        "rms_dex": float(np.sqrt(np.mean(squares))),
        "r2": r2_of(found, n_bootstrap=profile.bootstrap_samples),
    }
