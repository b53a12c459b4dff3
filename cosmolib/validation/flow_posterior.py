"""Full posteriors: neural posterior estimation on what a trained network has made of a map.

A moment network gives a mean and a width. Here a normalising flow is conditioned on the features
that its last layer sees, and gives p(theta | map) with its shape and its correlations (neural
posterior estimation, arXiv:1905.07488, with the flows of sbi, arXiv:2007.09114). The optional
extra ``posterior`` brings sbi.

The flow's own question, "are its posteriors right on average?", is asked by two tests of coverage:
ranks of the truth among the samples (SBC, arXiv:1804.06788), parameter by parameter, and distances
to random points (TARP, arXiv:2302.03026), for all parameters at once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch

from cosmolib.training.dataset import MapsOnDisk, denormalise, network_inputs
from cosmolib.training.fit import EVALUATION_PIXELS, seeded
from cosmolib.training.networks import MomentNetwork
from cosmolib.training.scores import average, bootstrap

HIDDEN, TRANSFORMS = 32, 2  # of the flow: small, because few simulations train it
BATCH, MAX_LR, PATIENCE = 128, 2e-3, 15  # maps a step, peak learning rate, epochs without gain
EDGE = 1e-3  # of the unit box: the parameters are moved off the edges before their logit is taken


@torch.no_grad()
def network_features(network: MomentNetwork, x, device: str = "cpu") -> np.ndarray:
    """What the last layer of a network sees of scaled maps, in eval mode, which it is left in.

    Parameters
    ----------
    network : cosmolib.training.networks.MomentNetwork
    x : scaled maps as `cosmolib.training.dataset.network_inputs` takes them
    device : str

    Returns
    -------
    (n, F) float32
    """
    x = x if isinstance(x, MapsOnDisk) else network_inputs(x)
    network.to(device).eval()
    step = max(1, EVALUATION_PIXELS // x.shape[-1] ** 2)
    found = [
        network.activation(network.FC1(network.features(x[i : i + step].to(device, torch.float32))))
        for i in range(0, len(x), step)
    ]
    return torch.cat(found).cpu().numpy()


@dataclass(frozen=True, eq=False)
class FlowPosterior:
    """A fitted posterior p(theta | features), flat prior over the ranges of a suite."""

    flow: torch.nn.Module
    centre: np.ndarray  # (F,) of the training features
    width: np.ndarray  # (F,)
    suite: str  # whose ranges are the prior
    targets: tuple[str, ...]
    history: list[dict]  # epoch, train_loss, valid_loss

    def sample(self, features, n: int, seed: int = 0) -> np.ndarray:
        """Draw n samples (m, n, P), physical units, of the posteriors of features (m, F)."""
        with torch.no_grad(), seeded(seed):
            drawn = self.flow.sample((n,), self._condition(features))  # (n, m, P)
        box = (torch.sigmoid(drawn).numpy().astype(np.float64) - EDGE) / (1 - 2 * EDGE)
        box = np.clip(box, 0, 1).transpose(1, 0, 2)  # of the logit's margin
        return denormalise(box, 0.0, self.suite, self.targets)[0]

    def _condition(self, features):
        scaled = (np.asarray(features, np.float32) - self.centre) / self.width
        return torch.from_numpy(scaled)


def fit_posterior(
    features,
    theta,
    valid_features,
    valid_theta,
    *,
    suite: str,
    targets,
    seed: int,
    max_epochs: int = 200,
    progress: Callable[[str], None] | None = None,
) -> FlowPosterior:
    """Fit a neural spline flow (arXiv:1906.04032) to pairs of features and parameters.

    Stops when the validation pairs, which come from other simulations, have not gained for
    `PATIENCE` epochs, and keeps the best. (sbi's own training splits at random, by map: maps of one
    simulation would lie on both sides.) Writes nothing to disk; torch's global state is left alone.

    Parameters
    ----------
    features, valid_features : (n, F)
    theta, valid_theta : (n, P)
        Normalised to 0 ... 1, see `cosmolib.training.dataset.normalise`.
    suite : str
    targets : sequence of str
    seed : int
    max_epochs : int
    progress : callable, optional
        Called with a line of text now and then.

    Raises
    ------
    ImportError
        sbi is not installed.
    ValueError
        Features and parameters do not fit together.
    """
    build_zuko_nsf = _flows()
    features, valid_features = (np.asarray(x, np.float32) for x in (features, valid_features))
    for x, y in ((features, theta), (valid_features, valid_theta)):
        if x.ndim != 2 or len(x) != len(y) or len(x) < 2:
            raise ValueError(
                f"features: found shape {x.shape} for {len(y)} rows of parameters, expected (n, F)"
                " with as many rows, 2 at least"
            )
    centre, width = features.mean(0), features.std(0)
    width = np.where(width > 1e-6, width, 1.0).astype(np.float32)  # a dead feature stays constant
    x, valid_x = (torch.from_numpy((y - centre) / width) for y in (features, valid_features))
    y, valid_y = (_logit(torch.as_tensor(t, dtype=torch.float32)) for t in (theta, valid_theta))
    generator = torch.Generator().manual_seed(seed)
    history, best, best_loss = [], None, np.inf
    with seeded(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sbi's own dependencies
        flow = build_zuko_nsf(
            y, x, hidden_features=HIDDEN, num_transforms=TRANSFORMS, z_score_y="none"
        )
        optimiser = torch.optim.AdamW(flow.parameters(), lr=MAX_LR, weight_decay=1e-2)
        for epoch in range(1, max_epochs + 1):
            flow.train()
            total, order = 0.0, torch.randperm(len(x), generator=generator)
            batches = order.split(BATCH)
            for chosen in batches:
                loss = flow.loss(y[chosen], x[chosen]).mean()
                optimiser.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
                optimiser.step()
                total += float(loss.detach()) * len(chosen) / len(x)
            flow.eval()
            with torch.no_grad():
                valid_loss = float(flow.loss(valid_y, valid_x).mean())
            history.append({"epoch": epoch, "train_loss": total, "valid_loss": valid_loss})
            if valid_loss < best_loss:
                best, best_loss, best_epoch = deepcopy(flow.state_dict()), valid_loss, epoch
            if progress is not None and epoch % 10 == 0:
                progress(f"flow, epoch {epoch:3d}: {total:.3f}, validation {valid_loss:.3f}")
            if epoch - best_epoch >= PATIENCE:
                break
    flow.load_state_dict(best)
    flow.eval()
    return FlowPosterior(flow, centre, width, suite, tuple(targets), history)


def _flows():
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from sbi.neural_nets.net_builders import build_zuko_nsf
    except ImportError as error:
        raise ImportError(
            f"full posteriors need sbi ({error}): pip install -e '.[posterior]'"
        ) from None
    return build_zuko_nsf


def _logit(theta):
    """Unit box to the real line, so that no sample lies outside the prior."""
    return torch.logit(EDGE + (1 - 2 * EDGE) * theta)


def as_predictions(samples, like: dict) -> dict:
    """First two moments of samples (m, n, P) in the form of predictions, of the maps of `like`."""
    return {**like, "mean": samples.mean(1), "std": samples.std(1, ddof=1)}


# --------------------------------------------------------------------------------------------------
# Coverage
# --------------------------------------------------------------------------------------------------
def rank_coverage(samples, predictions: dict, levels, n_bootstrap: int = 1000, seed: int = 0):
    """How often the truth lies within the central interval of the samples, at each level.

    The rank of the truth among the samples is uniform for a right posterior (simulation-based
    calibration, arXiv:1804.06788): level q covers the ranks from (1 - q) / 2 to (1 + q) / 2.

    Parameters
    ----------
    samples : (m, n, P)
    predictions : dict
        With the ``truth``, ``simulation`` and ``parameters`` of the m maps.
    levels : (q,)

    Returns
    -------
    dict
        {parameter: (q, 3) array} as of `cosmolib.validation.calibration.coverage`.
    """
    truth = predictions["truth"][:, None]
    below, equal = (samples < truth).sum(1), (samples == truth).sum(1)  # (m, P)
    rank = (below + 0.5 * equal + 0.5) / (samples.shape[1] + 1)
    inside = (np.abs(2 * rank - 1)[:, :, None] < np.asarray(levels)).astype(float)
    table = _levels(inside.reshape(len(inside), -1), predictions, n_bootstrap, seed)
    table = table.reshape(*inside.shape[1:], 3)
    return {str(name): table[p] for p, name in enumerate(predictions["parameters"])}


def tarp(samples, predictions: dict, levels, n_bootstrap: int = 1000, seed: int = 0) -> np.ndarray:
    """Expected coverage of all parameters at once, by distances to random points.

    For each map a point is drawn from the box of the truths; the share of samples that lie nearer
    to it than the truth does is uniform for a right posterior, and for no other, whatever the
    points (TARP, arXiv:2302.03026). Distances are in units of the range of the truths.

    Returns
    -------
    (q, 3) array
        Share of maps below each level, and its 95 % limits over simulations.
    """
    truth = predictions["truth"]
    low, high = truth.min(0), truth.max(0)
    width = np.where(high > low, high - low, 1.0)
    points = np.random.default_rng([seed, 1]).uniform(low, high, truth.shape)  # (m, P)
    near = (((samples - points[:, None]) / width) ** 2).sum(-1)  # (m, n)
    far = (((truth - points) / width) ** 2).sum(-1)
    share = (near < far[:, None]).mean(1)
    below = (share[:, None] < np.asarray(levels)).astype(float)
    return _levels(below, predictions, n_bootstrap, seed)


def _levels(values, predictions, n_bootstrap, seed):
    low, high = bootstrap(average, [values], predictions["simulation"], n_bootstrap, seed)
    return np.stack([values.mean(0), low, high], -1)
