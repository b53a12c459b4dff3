"""Sum attributions by density, web class, distance and scale, with intervals.

Absolute attributions are summed and compared with the mean pixel or with the total, so that a
random attribution gives 1 or the share of the pixels. Intervals are 95 % and resample whole
simulations, because the maps of one simulation are not independent.
"""

import numpy as np
from scipy import stats

from cosmolib.data.arrays import bad_input, checked_maps
from cosmolib.data.cmd_format import BOX_SIZE
from cosmolib.data.spectra import cross_power
from cosmolib.interpretation.cosmic_web import WEB_CLASSES
from cosmolib.training.scores import Z95, as_estimate, average, bootstrap, estimate


def by_value(values, quantity, edges, simulations, n_bootstrap=1000) -> dict:
    """Sum attributions in bins of a quantity of each pixel, such as its density or a distance.

    Parameters
    ----------
    values : (n, N, N)
        Attributions.
    quantity : (n, N, N)
        In the units of `edges`.
    edges : (nb + 1,)
        Ascending; a bin includes its lower edge. Pixels outside all bins count in the totals only.
    simulations : (n,) int
        Simulation of each map.

    Returns
    -------
    dict
        ``edges``; ``fraction`` (nb,): share of the pixels; ``per_pixel`` (nb, 3): mean absolute
        attribution of the pixels in a bin, relative to the mean over all pixels, so that 1 is
        chance; ``signed_per_pixel`` (nb, 3): the signed attribution in the same units; ``share``
        (nb, 3): share of the summed absolute attribution. Columns are value, low, high; NaN for an
        empty bin.
    """
    quantity, _ = checked_maps(quantity, "quantity", infinite=True)  # a distance may be
    bins = np.digitize(quantity, _ascending(edges)) - 1  # -1 and nb are outside
    found = _by_bin(values, bins, len(edges) - 1, simulations, n_bootstrap)
    return {"edges": np.asarray(edges, float), **found}


def by_class(values, classes, simulations, n_bootstrap=1000) -> dict:
    """Sum attributions by class of the cosmic web, see `cosmic_web.WEB_CLASSES`.

    Parameters
    ----------
    values : (n, N, N)
    classes : (n, N, N) int
        From `cosmolib.interpretation.cosmic_web.web_classes`.
    simulations : (n,) int

    Returns
    -------
    dict
        ``names`` of the classes, and the entries of `by_value` with one row per class.
    """
    found = _by_bin(values, classes, len(WEB_CLASSES), simulations, n_bootstrap)
    return {"names": WEB_CLASSES, **found}


def over_to_under(values, overdensity, simulations, n_bootstrap=1000) -> dict:
    """Compare the attributions of over-dense (delta >= 0) and under-dense pixels.

    Parameters
    ----------
    values : (n, N, N)
    overdensity : (n, N, N)
        delta, at least -1.
    simulations : (n,) int

    Returns
    -------
    dict
        Two estimates: ``ratio`` of the mean absolute attributions, over-dense to under-dense, and
        ``under-dense``, the share of under-dense pixels in the sum.
    """
    bins = (checked_maps(overdensity, "overdensity")[0] >= 0).astype(int)
    sums = [table[:, :2] for table in _sums(values, bins, 2)]  # no pixel is outside

    def statistic(absolute, signed, count, weights):
        total = weights @ absolute
        under, over = np.moveaxis(total / (weights @ count), -1, 0)
        return np.stack([over / under, total[..., 0] / total.sum(-1)], -1)

    ratio, share = map(as_estimate, _with_interval(statistic, sums, simulations, n_bootstrap))
    return {"ratio": ratio, "under-dense": share}


def ratio_to_null(trained: list[dict], null: list[dict]) -> dict:
    """Compare a ratio, such as that of `over_to_under`, between two kinds of networks.

    Parameters
    ----------
    trained, null : list of dict
        One estimate per network: trained networks, and networks that learnt nothing.

    Returns
    -------
    dict
        Estimate of the ratio of their geometric means. The interval combines the scatter between
        networks (Welch's t-test) and that between maps in quadrature; it is None with fewer than
        two networks of either kind.
    """
    centres, between, maps, freedom = np.full((4, 2), np.nan)
    for kind, estimates in enumerate((trained, null)):
        ends = [[x[key] or np.nan for key in ("value", "low", "high")] for x in estimates]
        value, low, high = np.log(np.reshape(ends, (-1, 3)), dtype=float).T
        if len(value):
            centres[kind] = value.mean()
        if len(value) > 1:
            between[kind], freedom[kind] = value.var(ddof=1) / len(value), len(value) - 1
            maps[kind] = np.mean(((high - low) / (2 * Z95)) ** 2)
    total = between.sum()
    degrees = total**2 / (between**2 / freedom).sum()
    half = np.sqrt(stats.t.isf(0.025, degrees) ** 2 * total + Z95**2 * maps.sum())
    centre = centres[0] - centres[1]
    return as_estimate(np.exp([centre, centre - half, centre + half]))


def region_share(values, inside, simulations, n_bootstrap=1000) -> dict:
    """Estimate the share of the absolute attribution that some pixels have.

    Parameters
    ----------
    values : (n, N, N)
    inside : (n, N, N) bool
    simulations : (n,) int

    Returns
    -------
    dict
        An estimate, with ``chance`` as a further entry: the share of the pixels.
    """
    found = _by_bin(values, inside, 2, simulations, n_bootstrap)
    return as_estimate(found["share"][1]) | {"chance": float(found["fraction"][1])}


def region_sums(values, regions) -> np.ndarray:
    """Sum the signed attribution over each region of each map, (n, R).

    Parameters
    ----------
    values : (n, N, N)
    regions : (1 or n, N, N) int
        Number of the region of each pixel, from 0, as for `sanity_checks.occlude`.
    """
    values, _ = checked_maps(values, "attributions")
    regions = np.broadcast_to(checked_maps(regions, "regions", "biu")[0], values.shape)
    return _sums(values, regions, int(regions.max()) + 1)[1][:, :-1]


def by_band(values, field, edges, simulations, n_bootstrap=1000, box_size=BOX_SIZE) -> dict:
    """Compute the power of attribution maps by Fourier band, and their coherence with a field.

    Parameters
    ----------
    values : (n, N, N)
        Signed attributions.
    field : (n, N, N)
        The field to compare with, such as the scaled log-density.
    edges : (nb + 1,)
        Wavenumbers [h/Mpc], ascending; a band includes its lower edge.
    simulations : (n,) int
    box_size : float
        [Mpc/h]

    Returns
    -------
    dict
        ``edges``; ``fraction`` (nb,): share of the modes; ``field_share`` (nb,): share of the power
        of the field; ``share`` (nb, 3): share of the power of the attributions, with equal weights
        for all maps; ``coherence`` (nb, 3): cross power divided by the root of both powers, from -1
        to 1. Columns are value, low, high; NaN for a band without modes.
    """

    def in_bands(a, b):
        k, power, modes = cross_power(a, b, box_size)
        inside = np.digitize(k, _ascending(edges)) == np.arange(1, len(edges))[:, None]  # (nb, nk)
        whole = power.sum(1, keepdims=True)
        return np.concatenate([power @ inside.T, whole], 1), inside @ modes / modes.sum()

    pairs = ((values, values), (field, field), (values, field))  # their powers are (n, nb + 1)
    (own, fraction), (of_field, _), (cross, _) = (in_bands(*pair) for pair in pairs)
    strength = np.sqrt(np.maximum(own[:, -1:], np.finfo(float).tiny))

    def statistic(own, of_field, cross, weights):
        a, f, x = (weights @ table for table in (own, of_field, cross))  # (S, nb + 1)
        both = np.stack([a / a[:, -1:], x / np.sqrt(a * f)], -1)  # (S, nb + 1, 2)
        return np.where((a > 0)[..., None], both, np.nan)[:, :-1]

    tables = own / strength**2, of_field, cross / strength
    found = _with_interval(statistic, tables, simulations, n_bootstrap)  # (nb, 2, 3)
    summed = of_field.sum(0)
    return {
        "edges": np.asarray(edges, float),
        "fraction": fraction,
        "field_share": summed[:-1] / summed[-1],
        "share": found[:, 0],
        "coherence": found[:, 1],
    }


def mean_estimate(values, simulations, n_bootstrap=1000) -> dict:
    """Estimate the mean over maps of one number per map; NaN are ignored."""
    values = np.asarray(values, float)
    known = np.isfinite(values)
    if not known.any():
        return as_estimate([np.nan] * 3)
    tables, simulations = [values[known][:, None]], np.asarray(simulations)[known]
    return estimate(average, tables, simulations, ["mean"], n_bootstrap)["mean"]


def _with_interval(statistic, tables, simulations, n_bootstrap):
    """Return value, low and high of a statistic for `bootstrap`, along a new last axis."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value = statistic(*tables, weights=np.ones((1, len(tables[0]))))[0]
        low, high = bootstrap(statistic, tables, simulations, n_bootstrap)
    return np.stack([value, low, high], -1)


def _ascending(edges):
    if not (np.diff(edges) > 0).all():
        raise bad_input("edges", np.asarray(edges).tolist(), "ascending numbers")
    return edges


def _sums(values, bins, n_bins):
    """Sum over the pixels of each map and bin; the last column is for pixels outside all bins.

    Returns absolute attribution, signed attribution and number of pixels, (n, nb + 1) each.
    """
    values = checked_maps(values, "attributions")[0].astype(np.float64)
    bins = checked_maps(bins, "regions", "biu")[0].astype(int)
    bins = np.where((bins >= 0) & (bins < n_bins), bins, n_bins)
    if values.shape != bins.shape:
        raise bad_input("attributions", f"shapes {values.shape} and {bins.shape}", "equal ones")
    n, width = len(values), n_bins + 1
    place = (bins.reshape(n, -1) + width * np.arange(n)[:, None]).ravel()
    return [
        np.bincount(place, None if w is None else w.ravel(), n * width).reshape(n, width)
        for w in (np.abs(values), values, None)
    ]


def _by_bin(values, bins, n_bins, simulations, n_bootstrap):
    def statistic(absolute, signed, count, weights):
        a, s, c = (weights @ table for table in (absolute, signed, count))  # (S, nb + 1)
        total = a.sum(-1, keepdims=True)
        mean = total / c.sum(-1, keepdims=True)
        return np.stack([a / c / mean, s / c / mean, a / total], -1)[:, :-1]  # (S, nb, 3)

    tables = _sums(values, bins, n_bins)
    found = _with_interval(statistic, tables, simulations, n_bootstrap)  # (nb, 3, 3)
    columns = zip(("per_pixel", "signed_per_pixel", "share"), np.moveaxis(found, 1, 0), strict=True)
    return {"fraction": tables[2].sum(0)[:-1] / tables[2].sum(), **dict(columns)}
