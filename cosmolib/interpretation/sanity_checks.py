"""Sanity checks of attributions: do they depend on what the network learnt, or only on the map?

Each check is a number that a bad method would fail:

- *Cascading randomisation* (Adebayo et al., arXiv:1810.03292): a network with random weights, or
  trained on shuffled labels, has learnt nothing; its attributions should not resemble those of a
  trained one.
- *Equivariance*: a turned, mirrored or shifted map should give the same attributions, moved alike.
- *Infidelity and sensitivity* (Yeh et al., arXiv:1901.09392): does the attribution of a patch equal
  the effect of hiding it, and how much does it change under noise that a reader cannot see?

Deletion, insertion and occlusion are in `occlusion`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy.stats import rankdata

from cosmolib.data.arrays import checked_numbers
from cosmolib.interpretation.attribution import attribute, takes_baseline
from cosmolib.training.dataset import network_inputs
from cosmolib.training.fit import seeded
from cosmolib.training.networks import fused

NOISE_RADIUS = 0.02  # noise of the sensitivity, in standard deviations of the scaled map


def rank_correlation(a, b) -> np.ndarray:
    """Spearman's rank correlation of the absolute attributions of each map.

    Parameters
    ----------
    a, b : (n, N, N)

    Returns
    -------
    (n,) float64
        1 if both put the pixels in the same order, 0 if they have nothing in common; NaN for a map
        on which one of them is the same everywhere.
    """
    return _correlation(*(rankdata(np.abs(v), axis=1) for v in map(_rows, (a, b))))


def correlation(a, b) -> np.ndarray:
    """Pearson's correlation of the signed attributions of each map, (n,)."""
    return _correlation(*map(_rows, (a, b)))


def _rows(values):
    """Attributions as (n, pixels)."""
    values = checked_numbers(values, "attributions").astype(np.float64)
    if values.ndim < 2:
        raise ValueError(f"attributions: found shape {values.shape}, expected (n, N, N)")
    return values.reshape(len(values), -1)


def _correlation(a, b):
    if a.shape != b.shape:
        raise ValueError(f"attributions: found shapes {a.shape} and {b.shape}, expected equal ones")
    a, b = (v - v.mean(1, keepdims=True) for v in (a, b))
    with np.errstate(divide="ignore", invalid="ignore"):
        return (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))


def cascade(
    network: torch.nn.Module, fresh: torch.nn.Module
) -> Iterator[tuple[str, torch.nn.Module]]:
    """Randomise a trained network from its output down to its input, stage by stage.

    Parameters
    ----------
    network, fresh : torch.nn.Module
        Trained, and of the same architecture with initial weights. Neither is changed.

    Yields
    ------
    name : str
        Stage that was randomised last; all later ones are random as well. The stages are
        `MomentNetwork.stages`, or the single layers of any other network.
    network : torch.nn.Module
        A separate copy.
    """
    names = getattr(network, "stages", None) or {
        name: [name]
        for name, module in network.named_modules()
        if next(module.parameters(recurse=False), None) is not None
    }
    mixed = copy.deepcopy(network)
    for stage, layers in reversed(names.items()):
        for layer in layers:
            # Layer by layer: a normalisation brings its running mean and variance along.
            state = fresh.get_submodule(layer).state_dict()
            mixed.get_submodule(layer).load_state_dict(state)
        yield stage, copy.deepcopy(mixed)


def transformations(grid: int) -> dict[str, tuple[Callable, Callable]]:
    """Return the eight symmetries of the square and some periodic shifts, by name.

    Each is a pair, there and back, of functions of a tensor (..., N, N). Shifts are by one pixel,
    by an odd vector, and by a quarter of the map. The first one is the identity.
    """

    def turn(k, mirrored):
        def there(x):
            return torch.rot90(x.flip(-1) if mirrored else x, k, (-2, -1))

        def back(x):
            x = torch.rot90(x, -k, (-2, -1))
            return x.flip(-1) if mirrored else x

        return there, back

    def shift(dy, dx):
        return tuple(
            lambda x, sign=sign: torch.roll(x, (sign * dy, sign * dx), (-2, -1)) for sign in (1, -1)
        )

    found = {
        f"{'mirrored, ' * mirrored}turned {90 * k}°": turn(k, mirrored)
        for mirrored in (False, True)
        for k in range(4)
    }
    quarter = grid // 4
    return found | {
        f"shifted {dy}, {dx}": shift(dy, dx) for dy, dx in ((1, 0), (3, 5), (quarter, quarter))
    }


def moved_attributions(
    network: torch.nn.Module, x: torch.Tensor, method: str, target: int, **options
) -> dict[str, np.ndarray]:
    """Attribute maps that were turned, mirrored or shifted, and move the attributions back.

    The first entry belongs to the unmoved maps; an equivariant method and network give the same for
    all. Their mean depends less on the network's own grid (its strides).

    Parameters
    ----------
    network, x, method, target, **options
        As for `cosmolib.interpretation.attribution.attribute`. The baseline is moved with the maps.

    Returns
    -------
    dict of str to (B, N, N)
        By the names of `transformations`.
    """
    baseline = options.pop("baseline", None)
    x = network_inputs(x)
    baseline = None if baseline is None else network_inputs(baseline, "baseline")
    found = {}
    for name, (there, back) in transformations(x.shape[-1]).items():
        moved = None if baseline is None else there(baseline)
        values = attribute(network, there(x), method, target, baseline=moved, **options).values
        found[name] = back(torch.from_numpy(values)).numpy()
    return found


def infidelity(
    network: torch.nn.Module,
    x: torch.Tensor,
    values,
    method: str,
    target: int,
    *,
    baseline: torch.Tensor,
    patch: int,
    n_samples: int = 20,
) -> np.ndarray:
    """Mean squared error of the predicted effect of hiding patches, relative to predicting none.

    Captum's infidelity with random squares that are replaced by the baseline. For methods with a
    baseline a patch should change the output by the sum of its attribution; for gradients by the
    gradient times the change.

    Parameters
    ----------
    network, x, method, target
        As in `cosmolib.interpretation.attribution.attribute`.
    values : (B, N, N)
        Attributions of the method.
    baseline : (1 or B, 1, N, N)
        Values of hidden pixels.
    patch : int
        Side of the squares [pixels].
    n_samples : int
        Squares for each map.

    Returns
    -------
    (B,) float64
        0 is perfect, 1 as good as an attribution of zero everywhere.
    """
    from captum.metrics import infidelity as of_captum

    device = next(network.parameters()).device
    x, baseline = network_inputs(x).to(device), network_inputs(baseline, "baseline").to(device)
    fast, baseline = fused(network), baseline.expand_as(x)
    grid = x.shape[-1]
    place = torch.arange(grid, device=device)

    def hide(maps, baselines):
        corner = torch.randint(grid, (2, len(maps), 1), device=device)
        rows, columns = ((place - edge) % grid < patch for edge in corner)  # (n, N): periodic
        inside = (rows[:, :, None] & columns[:, None])[:, None]
        way = maps - baselines
        return (1.0 if takes_baseline(method) else way) * inside, maps - way * inside

    def error(attributions):
        with seeded(0, device.type):
            found = of_captum(
                lambda maps: fast(maps)[0], hide, x, attributions,
                baselines=baseline, target=target, n_perturb_samples=n_samples,
                max_examples_per_batch=min(max(len(x), 32), len(x) * n_samples),
            )  # fmt: skip
        return found.detach().double().cpu().numpy()

    values = network_inputs(values, "attributions").to(device)
    with np.errstate(divide="ignore", invalid="ignore"):
        return error(values) / error(torch.zeros_like(values))


def sensitivity(
    network: torch.nn.Module,
    x: torch.Tensor,
    method: str,
    target: int,
    *,
    radius: float = NOISE_RADIUS,
    n_samples: int = 4,
    **options,
) -> np.ndarray:
    """Largest relative change of an attribution under small uniform noise: captum's own measure.

    Parameters
    ----------
    network, x, method, target, **options
        As for `cosmolib.interpretation.attribution.attribute`; a baseline of one map, or of a
        distribution.
    radius : float
        Of the noise, in units of the scaled input.
    n_samples : int
        Draws of the noise for each map.

    Returns
    -------
    (B,) float64
        max ||A(x + noise) - A(x)|| / ||A(x)||, which includes the noise of a method that draws.
    """
    from captum.metrics import sensitivity_max

    def explain(maps, **_):
        maps = maps[0] if isinstance(maps, tuple) else maps  # captum passes both
        values = attribute(network, maps, method, target, **options).values
        return (torch.from_numpy(values)[:, None],)

    with seeded(0, next(network.parameters()).device.type):
        found = sensitivity_max(
            explain, network_inputs(x), perturb_radius=radius, n_perturb_samples=n_samples
        )
    return found.double().numpy()
