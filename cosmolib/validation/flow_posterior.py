"""Full posteriors: neural posterior estimation from the features of a trained network.

A moment network predicts a mean and a width. Here a normalising flow is conditioned on the input of
its last layer and gives p(theta | map) with its shape and its correlations (neural posterior
estimation, arXiv:1905.07488, with the flows of sbi, arXiv:2007.09114). sbi is installed with the
optional extra ``posterior``.

Two tests of coverage check that these posteriors are correct on average: ranks of the truth among
the samples (SBC, arXiv:1804.06788) for each parameter, and distances to random points (TARP,
arXiv:2302.03026) for all parameters at once.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import torch

from cosmolib.training.dataset import denormalise
from cosmolib.training.fit import run_network, seeded
from cosmolib.training.networks import MomentNetwork
from cosmolib.validation.calibration import levels_covered

SIZE = {"hidden_features": 32, "num_transforms": 2}  # small: there are few training simulations
BATCH, MAX_LR, PATIENCE = 128, 2e-3, 15  # maps per step, learning rate, epochs without improvement
EDGE = 1e-3  # parameters are moved this far from the edges of the unit box before the logit


def network_features(network: MomentNetwork, x, device: str = "cpu") -> np.ndarray:
    """Compute the input of the last layer for scaled maps; the network is left in eval mode.

    Parameters
    ----------
    network : cosmolib.training.networks.MomentNetwork
    x : scaled maps in any form that `cosmolib.training.dataset.network_inputs` accepts
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
    """A fitted posterior p(theta | features) with a flat prior over the ranges of a suite."""

    flow: torch.nn.Module
    centre: np.ndarray  # (F,) mean of the training features
    width: np.ndarray  # (F,) their standard deviation
    suite: str  # its parameter ranges are the prior
    targets: tuple[str, ...]

    def sample(self, features, n: int, seed: int = 0) -> np.ndarray:
        """Draw n samples (m, n, P), in physical units, from the posteriors of features (m, F)."""
        with torch.no_grad(), seeded(seed):
            scaled = (np.asarray(features, np.float32) - self.centre) / self.width
            drawn = self.flow.sample((n,), torch.from_numpy(scaled))  # (n, m, P)
        box = (torch.sigmoid(drawn).numpy().astype(np.float64) - EDGE) / (1 - 2 * EDGE)
        box = np.clip(box, 0, 1).transpose(1, 0, 2)  # samples in the margin of the logit
        return denormalise(box, 0.0, self.suite, self.targets)[0]


def fit_posterior(
    train, valid, *, suite: str, targets, seed: int, max_epochs: int = 200, progress=None
) -> FlowPosterior:
    """Fit a neural spline flow (arXiv:1906.04032) to pairs of features and parameters.

    Training stops when the loss of the validation pairs, which come from other simulations, has not
    improved for `PATIENCE` epochs, and the best epoch is kept. (The training loop of sbi splits at
    random by map, so that maps of one simulation would be in both parts.) Nothing is written to
    disk, and the global random state of torch is not changed.

    Parameters
    ----------
    train, valid : pairs of arrays
        Features (n, F), and parameters (n, P) normalised to 0 ... 1, see
        `cosmolib.training.dataset.normalise`.
    suite : str
    targets : sequence of str
    seed : int
    max_epochs : int
    progress : callable, optional
        Called with a line of text every ten epochs.

    Raises
    ------
    ImportError
        sbi is not installed.
    """
    with warnings.catch_warnings(action="ignore"):  # from the dependencies of sbi
        from sbi.neural_nets.net_builders import build_zuko_nsf
    features, valid_features = (np.asarray(x, np.float32) for x, _ in (train, valid))
    centre, width = features.mean(0), features.std(0)
    width = np.where(width > 1e-6, width, 1.0).astype(np.float32)  # for constant features
    x, valid_x = (torch.from_numpy((y - centre) / width) for y in (features, valid_features))
    # From the unit box to the real line, so that no sample lies outside the prior.
    box = (torch.as_tensor(theta, dtype=torch.float32) for _, theta in (train, valid))
    y, valid_y = (torch.logit(EDGE + (1 - 2 * EDGE) * theta) for theta in box)
    generator = torch.Generator().manual_seed(seed)
    losses, best = [], None
    with seeded(seed), warnings.catch_warnings(action="ignore"):
        flow = build_zuko_nsf(y, x, **SIZE, z_score_y="none")
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
                best = {name: weight.clone() for name, weight in flow.state_dict().items()}
            if progress is not None and epoch % 10 == 0:
                progress(f"flow, epoch {epoch:3d}: validation {losses[-1]:.3f}")
            if epoch - np.argmin(losses) > PATIENCE:
                break
    flow.load_state_dict(best)
    return FlowPosterior(flow.eval(), centre, width, suite, tuple(targets))


# --------------------------------------------------------------------------------------------------
# Coverage
# --------------------------------------------------------------------------------------------------
def rank_coverage(samples, predictions: dict, levels, n_bootstrap: int = 1000, seed: int = 0):
    """Measure how often the truth lies within the central interval of the samples at each level.

    The rank of the truth among the samples is uniform for a correct posterior (simulation-based
    calibration, arXiv:1804.06788): level q covers the ranks from (1 - q) / 2 to (1 + q) / 2.

    Parameters
    ----------
    samples : (m, n, P)
    predictions : dict
        With ``truth``, ``simulation`` and ``parameters`` of the m maps.
    levels : (q,)

    Returns
    -------
    dict
        {parameter: (q, 3) array} as from `cosmolib.validation.calibration.coverage`.
    """
    truth = predictions["truth"][:, None]
    below, equal = (samples < truth).sum(1), (samples == truth).sum(1)  # (m, P)
    rank = (below + 0.5 * equal + 0.5) / (samples.shape[1] + 1)
    return levels_covered(np.abs(2 * rank - 1), predictions, levels, n_bootstrap, seed)


def tarp(samples, predictions: dict, levels, n_bootstrap: int = 1000, seed: int = 0) -> np.ndarray:
    """Measure the expected coverage of all parameters at once by distances to random points (TARP).

    For each map a point is drawn from the box of the true parameters. The share of samples that are
    closer to it than the truth is uniform if and only if the posterior is correct
    (arXiv:2302.03026). Distances are in units of the range of the true parameters.

    Returns
    -------
    (q, 3) array
        Share of maps below each level and its 95 % limits over simulations.

    """
    truth = predictions["truth"]
    low, high = truth.min(0), truth.max(0)
    width = np.where(high > low, high - low, 1.0)
    points = np.random.default_rng([seed, 1]).uniform(low, high, truth.shape)  # (m, P)
    near = (((samples - points[:, None]) / width) ** 2).sum(-1)  # (m, n)
    far = (((truth - points) / width) ** 2).sum(-1)
    share = (near < far[:, None]).mean(1)
    all_at_once = predictions | {"parameters": np.array(["all"])}
    return levels_covered(share[:, None], all_at_once, levels, n_bootstrap, seed)["all"]
