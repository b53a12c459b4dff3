"""Sanity checks of attributions: do they depend on what the network learnt, or only on the map?

Each check is a number that a bad method would fail:

- *Cascading randomisation* (Adebayo et al., arXiv:1810.03292): a network with random weights, or
  trained on shuffled labels, has learnt nothing; its attributions should not resemble those of a
  trained one.
- *Equivariance*: a turned, mirrored or shifted map should give the same attributions, moved alike.
- *Infidelity and sensitivity* (Yeh et al., arXiv:1901.09392): does the attribution of a patch equal
  the effect of hiding it, and how much does it change under noise that a reader cannot see?
- *Occlusion, deletion and insertion* (Petsiuk et al., arXiv:1806.07421): hide parts of a map and
  read the prediction, without gradients. What two regions do together is in neither: a region that
  duplicates another counts little.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import torch
from scipy.stats import rankdata

from cosmolib.data.arrays import checked_maps, checked_numbers
from cosmolib.interpretation.attribution import attribute, maps_at_once, takes_baseline
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
    return correlation(*(rankdata(np.abs(_rows(v)), axis=1) for v in (a, b)))


def correlation(a, b) -> np.ndarray:
    """Pearson's correlation of the signed attributions of each map, (n,)."""
    a, b = _rows(a), _rows(b)
    if a.shape != b.shape:
        raise ValueError(f"attributions: found shapes {a.shape} and {b.shape}, expected equal ones")
    a, b = (v - v.mean(1, keepdims=True) for v in (a, b))
    with np.errstate(divide="ignore", invalid="ignore"):
        return (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))


def _rows(values):
    """Attributions as (n, pixels)."""
    values = checked_numbers(values, "attributions").astype(np.float64)
    return values.reshape(len(values), -1)


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
            mixed.get_submodule(layer).load_state_dict(fresh.get_submodule(layer).state_dict())
        yield stage, copy.deepcopy(mixed)


def transformations(grid: int) -> dict[str, torch.Tensor]:
    """Return the eight symmetries of the square and some periodic shifts, by name.

    Each is the map (N, N) of the pixel that comes to each place. Shifts are by one pixel, by an odd
    vector, and by a quarter of the map. The first one is the identity.
    """
    pixels, quarter = torch.arange(grid**2).view(grid, grid), grid // 4
    return {
        f"{'mirrored, ' * mirrored}turned {90 * k}°": torch.rot90(side, k)
        for mirrored, side in enumerate((pixels, pixels.flip(-1)))
        for k in range(4)
    } | {
        f"shifted {dy}, {dx}": pixels.roll((dy, dx), (0, 1))
        for dy, dx in ((1, 0), (3, 5), (quarter, quarter))
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
    maps, found = {"x": network_inputs(x)}, {}
    if options.get("baseline") is not None:
        maps["baseline"] = network_inputs(options["baseline"], "baseline")
    for name, places in transformations(maps["x"].shape[-1]).items():
        moved = {key: one.flatten(1)[:, places][:, None] for key, one in maps.items()}
        values = attribute(network, method=method, target=target, **options | moved).values
        back = places.flatten().argsort().view(places.shape).numpy()
        found[name] = values.reshape(len(values), -1).take(back, 1)
    return found


@torch.no_grad()
def occlude(network: torch.nn.Module, x, regions, target: int, *, baseline) -> np.ndarray:
    """Measure the change of the predicted mean as each region is replaced by the baseline.

    Parameters
    ----------
    network, x, target
        As in `cosmolib.interpretation.attribution.attribute`.
    regions : (1 or B, N, N) int
        Region of each pixel, from 0; pixels below zero belong to none.
    baseline : (1 or B, 1, N, N)

    Returns
    -------
    (B, R) float64
        f(x) - f(x without the region), in units of the normalised parameter; 0 where a map has no
        pixel of the region.
    """
    fast, x, baseline = _ready(network, x, baseline)
    regions = torch.from_numpy(checked_maps(regions, "regions", "iu")[0].astype(np.int64))
    if regions.shape[1:] != x.shape[2:] or len(regions) not in (1, len(x)):
        expected = f"1 or {len(x)} of {tuple(x.shape[2:])}"
        raise ValueError(f"regions: found shape {tuple(regions.shape)}, expected {expected}")
    count = int(regions.max()) + 1
    regions = regions.to(x.device).expand(len(x), -1, -1)
    lost = np.empty((len(x), count))
    for one, (a, b, r) in enumerate(zip(x, baseline, regions, strict=True)):
        inside = r == torch.arange(count, device=x.device)[:, None, None]  # (R, N, N)
        hidden = torch.where(inside[:, None], b, a)  # (R, 1, N, N)
        means = [fast(part)[0][:, target] for part in hidden.split(maps_at_once(x, x.device))]
        lost[one] = (fast(a[None])[0][:, target] - torch.cat(means)).cpu()
    return lost


def patches(grid: int, size: int) -> np.ndarray:
    """Square patches of `size` pixels as regions of `occlude`, (1, N, N), row by row."""
    place = np.arange(grid) // size
    return (place[:, None] * (place[-1] + 1) + place)[None]


@torch.no_grad()
def replacement_curve(
    network: torch.nn.Module, x, order, target: int, *, baseline, fractions, insertion: bool = False
) -> np.ndarray:
    """Measure the distance from the whole map's prediction as pixels are replaced in an order.

    Parameters
    ----------
    network, x, target
        As in `cosmolib.interpretation.attribution.attribute`.
    order : (B, N, N)
        The pixel of the largest value goes first.
    baseline : (1 or B, 1, N, N)
        Values of hidden pixels.
    fractions : (F,)
        Of the pixels that are replaced (deletion) or are there (insertion), from 0 to 1.
    insertion : bool
        Start from the baseline and insert the pixels of the map.

    Returns
    -------
    (B, F) float64
        ``|f - f(x)|`` of the mean, in units of the normalised parameter.
    """
    fast, x, baseline = _ready(network, x, baseline)
    order, _ = checked_maps(order, "order")
    if order.shape != x[:, 0].shape:
        raise ValueError(f"order: found shape {order.shape}, expected {tuple(x[:, 0].shape)}")
    order = -order.astype(np.float64).reshape(len(x), -1)
    rank = torch.from_numpy(rankdata(order, "ordinal", axis=1) - 1).view(x.shape)
    edges = torch.as_tensor(np.asarray(fractions, float) * order.shape[1]).view(-1, 1, 1, 1)
    found = np.empty((len(x), len(edges)))
    for one, (a, b, r) in enumerate(zip(x, baseline, rank, strict=True)):
        chosen = (r[None] < edges).to(x.device)  # (F, 1, N, N)
        maps = torch.where(chosen, a, b) if insertion else torch.where(chosen, b, a)
        both = fast(torch.cat([maps, a[None]]))[0][:, target].double().cpu()
        found[one] = (both[:-1] - both[-1]).abs()
    return found


def _ready(network, x, baseline):
    """Network for evaluation, and maps and their baselines (B, 1, N, N), all on its device."""
    device = next(network.parameters()).device
    x, baseline = network_inputs(x).to(device), network_inputs(baseline, "baseline").to(device)
    return fused(network), x, baseline.expand_as(x)


def infidelity(
    network, x, values, method: str, target: int, *, baseline, patch: int, n_samples: int = 20
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

    fast, x, baseline = _ready(network, x, baseline)
    grid, device = x.shape[-1], x.device
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
    network, x, method: str, target: int, *, radius=NOISE_RADIUS, n_samples: int = 4, **options
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

    draws = {"perturb_radius": radius, "n_perturb_samples": n_samples}
    with seeded(0, next(network.parameters()).device.type):
        return sensitivity_max(explain, network_inputs(x), **draws).double().numpy()
