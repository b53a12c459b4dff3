"""Sanity checks of attributions: do they depend on what the network learnt, or only on the map?

- *Cascading randomisation* (Adebayo et al., arXiv:1810.03292): a network with random weights, or
  one trained on shuffled labels, has learnt nothing. Its attributions should differ from those of a
  trained network.
- *Equivariance*: the attributions of a rotated, mirrored or shifted map should be those of the
  original map, moved in the same way.
- *Infidelity and sensitivity* (Yeh et al., arXiv:1901.09392): is the attribution of a patch equal
  to the effect of hiding it, and how much does it change under very weak noise?
- *Occlusion, deletion and insertion* (Petsiuk et al., arXiv:1806.07421): parts of a map are hidden
  and the prediction is read, without gradients. If two regions contain the same information, hiding
  either of them alone has little effect.
"""

import copy
from collections.abc import Iterator

import numpy as np
import torch
from scipy.stats import rankdata

from cosmolib.data.arrays import bad_input, checked_maps, checked_numbers
from cosmolib.interpretation.attribution import attribute, maps_at_once, takes_baseline
from cosmolib.training.dataset import network_inputs
from cosmolib.training.fit import seeded
from cosmolib.training.networks import MomentNetwork, fused

NOISE_RADIUS = 0.02  # of the sensitivity, in standard deviations of the scaled map


def rank_correlation(a, b) -> np.ndarray:
    """Compute Spearman's rank correlation of the absolute attributions of each map.

    Parameters
    ----------
    a, b : (n, N, N)

    Returns
    -------
    (n,) float64
        1 if both order the pixels in the same way, 0 if they are unrelated; NaN for a map on which
        one of them is constant.
    """
    return correlation(*(rankdata(np.abs(_rows(v)), axis=1) for v in (a, b)))


def correlation(a, b) -> np.ndarray:
    """Compute Pearson's correlation of the signed attributions of each map, (n,)."""
    a, b = _rows(a), _rows(b)
    if a.shape != b.shape:
        raise bad_input("attributions", f"shapes {a.shape} and {b.shape}", "equal ones")
    a, b = (v - v.mean(1, keepdims=True) for v in (a, b))
    with np.errstate(divide="ignore", invalid="ignore"):
        return (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))


def _rows(values):
    """Return attributions as (n, pixels)."""
    values = checked_numbers(values, "attributions").astype(np.float64)
    return values.reshape(len(values), -1)


def cascade(network: MomentNetwork, fresh: MomentNetwork) -> Iterator[tuple[str, MomentNetwork]]:
    """Randomise a trained network stage by stage, from its output to its input.

    Parameters
    ----------
    network, fresh : cosmolib.training.networks.MomentNetwork
        The trained network, and one of the same architecture with random weights. Neither is
        changed.

    Yields
    ------
    name : str
        The last stage randomised, see `MomentNetwork.stages`; all later stages are random as well.
    network : MomentNetwork
        A separate copy.
    """
    mixed = copy.deepcopy(network)
    for stage, layers in reversed(network.stages.items()):
        for layer in layers:
            # The state of a normalisation layer includes its running mean and variance.
            mixed.get_submodule(layer).load_state_dict(fresh.get_submodule(layer).state_dict())
        yield stage, copy.deepcopy(mixed)


def transformations(grid: int) -> dict[str, torch.Tensor]:
    """Return the eight symmetries of the square and three periodic shifts, by name.

    Each is an array (N, N) with the number of the pixel that is moved to each place. The shifts are
    by one pixel, by an odd vector and by a quarter of the map. The first entry is the identity.
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
    """Attribute rotated, mirrored and shifted maps, and move the attributions back.

    The first entry is for the original maps. All entries are equal if method and network are
    equivariant. The mean over all entries depends less on the grid that the strides of the network
    define.

    Parameters
    ----------
    network, x, method, target, **options
        As for `cosmolib.interpretation.attribution.attribute`. The baseline moves with the maps.

    Returns
    -------
    dict of str to (B, N, N)
        By the names from `transformations`.
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
    """Compute the change of the predicted mean if each region is replaced by the baseline.

    Parameters
    ----------
    network, x, target
        As in `cosmolib.interpretation.attribution.attribute`.
    regions : (1 or B, N, N) int
        Number of the region of each pixel, from 0; pixels with negative numbers are never hidden.
    baseline : (1 or B, 1, N, N)

    Returns
    -------
    (B, R) float64
        f(x) - f(x without the region), in units of the normalised parameter; 0 if a map has no
        pixel of the region.
    """
    fast, x, baseline = _ready(network, x, baseline)
    regions = torch.from_numpy(checked_maps(regions, "regions", "iu")[0].astype(np.int64))
    if regions.shape[1:] != x.shape[2:] or len(regions) not in (1, len(x)):
        expected = f"1 or {len(x)} of {tuple(x.shape[2:])}"
        raise bad_input("regions", f"shape {tuple(regions.shape)}", expected)
    numbers = torch.arange(int(regions.max()) + 1, device=x.device)[:, None, None, None]
    lost = []
    for a, b, r in zip(x, baseline, regions.to(x.device)[:, None].expand_as(x), strict=True):
        hidden = torch.where(r == numbers, b, a)  # (R, 1, N, N)
        means = [fast(part)[0][:, target] for part in hidden.split(maps_at_once(x, x.device))]
        lost.append(fast(a[None])[0][:, target] - torch.cat(means))
    return torch.stack(lost).double().cpu().numpy()


def patches(grid: int, size: int) -> np.ndarray:
    """Return square patches of `size` pixels per side as regions for `occlude`, (1, N, N)."""
    place = np.arange(grid) // size
    return (place[:, None] * (place[-1] + 1) + place)[None]


@torch.no_grad()
def replacement_curve(
    network: torch.nn.Module, x, order, target: int, *, baseline, fractions, insertion: bool = False
) -> np.ndarray:
    """Compute how far the prediction moves from that of the whole map as pixels are replaced.

    Parameters
    ----------
    network, x, target
        As in `cosmolib.interpretation.attribution.attribute`.
    order : (B, N, N)
        Pixels with the largest values are replaced first.
    baseline : (1 or B, 1, N, N)
        Values of hidden pixels.
    fractions : (F,)
        Fractions of the pixels that are hidden (deletion) or visible (insertion), from 0 to 1.
    insertion : bool
        Start from the baseline and insert the pixels of the map.

    Returns
    -------
    (B, F) float64
        ``|f - f(x)|`` of the predicted mean f, in units of the normalised parameter.
    """
    fast, x, baseline = _ready(network, x, baseline)
    order, _ = checked_maps(order, "order")
    if order.shape != x[:, 0].shape:
        raise bad_input("order", f"shape {order.shape}", tuple(x[:, 0].shape))
    order = -order.astype(np.float64).reshape(len(x), -1)
    rank = torch.from_numpy(rankdata(order, "ordinal", axis=1) - 1).view(x.shape)
    edges = torch.as_tensor(np.asarray(fractions, float) * order.shape[1]).view(-1, 1, 1, 1)
    found = []
    for a, b, r in zip(x, baseline, rank, strict=True):
        chosen = (r[None] < edges).to(x.device)  # (F, 1, N, N)
        maps = torch.where(chosen, a, b) if insertion else torch.where(chosen, b, a)
        both = fast(torch.cat([maps, a[None]]))[0][:, target].double().cpu()
        found.append((both[:-1] - both[-1]).abs())
    return torch.stack(found).numpy()


def _ready(network, x, baseline):
    """Return the network for evaluation, and maps and baselines (B, 1, N, N) on its device."""
    device = next(network.parameters()).device
    x, baseline = network_inputs(x).to(device), network_inputs(baseline, "baseline").to(device)
    return fused(network), x, baseline.expand_as(x)


def infidelity(
    network, x, values, method: str, target: int, *, baseline, patch: int, n_samples: int = 20
) -> np.ndarray:
    """Compute captum's infidelity for random patches that are replaced by the baseline.

    It is the mean squared error of the predicted effect of hiding a patch, relative to that of
    predicting no effect. The predicted effect is the sum of the attribution of the patch for
    methods with a baseline, and the gradient times the change of the pixels for gradients.

    Parameters
    ----------
    network, x, method, target
        As in `cosmolib.interpretation.attribution.attribute`.
    values : (B, N, N)
        Attributions of the method.
    baseline : (1 or B, 1, N, N)
        Values of hidden pixels.
    patch : int
        Side of the square patches [pixels].
    n_samples : int
        Number of patches per map.

    Returns
    -------
    (B,) float64
        0 is perfect; 1 is that of an attribution of zero everywhere.
    """
    from captum.metrics import infidelity as of_captum

    fast, x, baseline = _ready(network, x, baseline)
    grid, device = x.shape[-1], x.device
    place = torch.arange(grid, device=device)
    options = {"baselines": baseline, "target": target, "n_perturb_samples": n_samples}
    options["max_examples_per_batch"] = min(max(len(x), 32), len(x) * n_samples)

    def hide(maps, baselines):
        corner = torch.randint(grid, (2, len(maps), 1), device=device)
        rows, columns = ((place - edge) % grid < patch for edge in corner)  # (n, N): periodic
        inside = (rows[:, :, None] & columns[:, None])[:, None]
        way = maps - baselines
        return (1.0 if takes_baseline(method) else way) * inside, maps - way * inside

    def error(attributions):
        with seeded(0, device.type):
            found = of_captum(lambda maps: fast(maps)[0], hide, x, attributions, **options)
        return found.detach().double().cpu().numpy()

    values = network_inputs(values, "attributions").to(device)
    with np.errstate(divide="ignore", invalid="ignore"):
        return error(values) / error(torch.zeros_like(values))


def sensitivity(
    network, x, method: str, target: int, *, radius=NOISE_RADIUS, draws: int = 4, **options
) -> np.ndarray:
    """Compute captum's sensitivity: the largest relative change under weak uniform noise.

    Parameters
    ----------
    network, x, method, target, **options
        As for `cosmolib.interpretation.attribution.attribute`; the baseline is one map, or a
        distribution.
    radius : float
        Half width of the noise, in units of the scaled input.
    draws : int
        Draws of the noise per map.

    Returns
    -------
    (B,) float64
        max ||A(x + noise) - A(x)|| / ||A(x)||. If the method draws random numbers, their effect is
        included.
    """
    from captum.metrics import sensitivity_max

    def explain(maps, **_):
        maps = maps[0] if isinstance(maps, tuple) else maps  # captum passes both
        values = attribute(network, maps, method, target, **options).values
        return (torch.from_numpy(values)[:, None],)

    noise = {"perturb_radius": radius, "n_perturb_samples": draws}
    with seeded(0, next(network.parameters()).device.type):
        return sensitivity_max(explain, network_inputs(x), **noise).double().numpy()
