"""Occlusion: hide parts of a map and read the prediction, without gradients.

These functions check attributions that come from gradients. What two regions do together is in
neither: a region that duplicates another counts little.
"""

from __future__ import annotations

import numpy as np
import torch

from cosmolib.data.arrays import checked_maps
from cosmolib.interpretation.attribution import maps_at_once
from cosmolib.training.dataset import network_inputs
from cosmolib.training.networks import fused


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
    x, baseline = network_inputs(x), network_inputs(baseline, "baseline")
    regions = torch.from_numpy(checked_maps(regions, "regions", "iu")[0].astype(np.int64))
    if regions.shape[1:] != x.shape[2:] or len(regions) not in (1, len(x)):
        expected = f"1 or {len(x)} of {tuple(x.shape[2:])}"
        raise ValueError(f"regions: found shape {tuple(regions.shape)}, expected {expected}")
    device = next(network.parameters()).device
    fast = fused(network)
    count, at_once = int(regions.max()) + 1, maps_at_once(x, device)
    lost = np.empty((len(x), count))
    regions = regions.expand(len(x), -1, -1)
    for one, (a, b, r) in enumerate(zip(x, baseline.expand_as(x), regions, strict=True)):
        a, b, r = (tensor.to(device) for tensor in (a, b, r))
        inside = r == torch.arange(count, device=device)[:, None, None]  # (R, N, N)
        hidden = torch.where(inside[:, None], b, a)  # (R, 1, N, N)
        means = [fast(part)[0][:, target] for part in hidden.split(at_once)]
        lost[one] = (fast(a[None])[0][:, target] - torch.cat(means)).cpu()
    return lost


def patches(grid: int, size: int) -> np.ndarray:
    """Square patches of `size` pixels as regions of `occlude`, (1, N, N), row by row."""
    place = np.arange(grid) // size
    return (place[:, None] * (place[-1] + 1) + place)[None]


@torch.no_grad()
def replacement_curve(
    network: torch.nn.Module,
    x,
    order,
    target: int,
    *,
    baseline,
    fractions,
    insertion: bool = False,
) -> np.ndarray:
    """Measure the distance from the whole map's prediction as pixels are replaced in an order.

    Deletion and insertion of Petsiuk et al. (arXiv:1806.07421).

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
        |f - f(x)| of the mean, in units of the normalised parameter.
    """
    x, baseline = network_inputs(x), network_inputs(baseline, "baseline")
    device = next(network.parameters()).device
    fast = fused(network)
    order, _ = checked_maps(order, "order")
    if order.shape != x[:, 0].shape:
        raise ValueError(f"order: found shape {order.shape}, expected {tuple(x[:, 0].shape)}")
    order = order.astype(np.float64).reshape(len(x), -1)
    rank = np.empty(order.shape, np.int64)
    np.put_along_axis(rank, np.argsort(-order, 1, kind="stable"), np.arange(order.shape[1]), 1)
    rank = torch.from_numpy(rank).view(x.shape)
    edges = torch.as_tensor(np.asarray(fractions, float) * order.shape[1]).view(-1, 1, 1, 1)
    found = np.empty((len(x), len(edges)))
    for one, (a, b, r) in enumerate(zip(x, baseline.expand_as(x), rank, strict=True)):
        chosen = r[None] < edges  # (F, 1, N, N)
        maps = torch.where(chosen, a, b) if insertion else torch.where(chosen, b, a)
        both = fast(torch.cat([maps, a[None]]).to(device))[0][:, target].double().cpu()
        found[one] = (both[:-1] - both[-1]).abs()
    return found
