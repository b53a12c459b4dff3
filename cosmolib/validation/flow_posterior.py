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

from cosmolib.training.dataset import denormalise
from cosmolib.training.fit import run_network, seeded
from cosmolib.training.networks import MomentNetwork
from cosmolib.validation.calibration import levels_covered

HIDDEN, TRANSFORMS = 32, 2  # of the flow: small, because few simulations train it
BATCH, MAX_LR, PATIENCE = 128, 2e-3, 15  # maps a step, peak learning rate, epochs without gain
EDGE = 1e-3  # of the unit box: the parameters are moved off the edges before their logit is taken


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
    seen = []
    with network.FC2.register_forward_pre_hook(lambda _, inputs: seen.append(*inputs)):
        run_network(network, x, device=device)
    return torch.cat(seen).cpu().numpy()


@dataclass(frozen=True, eq=False)
class FlowPosterior:
    """A fitted posterior p(theta | features), flat prior over the ranges of a suite."""

    flow: torch.nn.Module
    centre: np.ndarray  # (F,) of the training features
    width: np.ndarray  # (F,)
    suite: str  # whose ranges are the prior
    targets: tuple[str, ...]
    valid_losses: list[float]  # of each epoch

    def sample(self, features, n: int, seed: int = 0) -> np.ndarray:
        """Draw n samples (m, n, P), physical units, of the posteriors of features (m, F)."""
        with torch.no_grad(), seeded(seed):
            scaled = (np.asarray(features, np.float32) - self.centre) / self.width
            drawn = self.flow.sample((n,), torch.from_numpy(scaled))  # (n, m, P)
        box = (torch.sigmoid(drawn).numpy().astype(np.float64) - EDGE) / (1 - 2 * EDGE)
        box = np.clip(box, 0, 1).transpose(1, 0, 2)  # of the logit's margin
        return denormalise(box, 0.0, self.suite, self.targets)[0]


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
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sbi's own dependencies
        from sbi.neural_nets.net_builders import build_zuko_nsf
    features, valid_features = (np.asarray(x, np.float32) for x in (features, valid_features))
    centre, width = features.mean(0), features.std(0)
    width = np.where(width > 1e-6, width, 1.0).astype(np.float32)  # a dead feature stays constant
    x, valid_x = (torch.from_numpy((y - centre) / width) for y in (features, valid_features))
    y, valid_y = (_logit(torch.as_tensor(t, dtype=torch.float32)) for t in (theta, valid_theta))
    generator = torch.Generator().manual_seed(seed)
    losses, best = [], None
    with seeded(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flow = build_zuko_nsf(
            y, x, hidden_features=HIDDEN, num_transforms=TRANSFORMS, z_score_y="none"
        )
        optimiser = torch.optim.AdamW(flow.parameters(), lr=MAX_LR, weight_decay=1e-2)
        for epoch in range(1, max_epochs + 1):
            flow.train()
            for chosen in torch.randperm(len(x), generator=generator).split(BATCH):
                optimiser.zero_grad()
                flow.loss(y[chosen], x[chosen]).mean().backward()
                torch.nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
                optimiser.step()
            flow.eval()
            with torch.no_grad():
                losses.append(float(flow.loss(valid_y, valid_x).mean()))
            if np.argmin(losses) == epoch - 1:
                best = deepcopy(flow.state_dict())
            if progress is not None and epoch % 10 == 0:
                progress(f"flow, epoch {epoch:3d}: validation {losses[-1]:.3f}")
            if epoch - np.argmin(losses) > PATIENCE:
                break
    flow.load_state_dict(best)
    return FlowPosterior(flow.eval(), centre, width, suite, tuple(targets), losses)


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
    table = levels_covered(np.abs(2 * rank - 1), predictions, levels, n_bootstrap, seed)
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
    return levels_covered(share[:, None], predictions, levels, n_bootstrap, seed)[0]
