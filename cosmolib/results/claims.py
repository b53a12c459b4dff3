"""The paper's six claims, the measurement for each, and the rule that decides.

A rule is written before any number is seen and uses only the results table of chapter 06 (see
`cosmolib.results.table`), so that anybody can judge another table by it. A claim is *supported*
only if the whole 95 % interval of every deciding number lies on the claim's side of its threshold;
otherwise it is *not supported*, and the reason says whether the numbers contradict it or leave it
open. A claim that the data cannot address is *not testable* on them, with the reason. The
thresholds are our reading of words such as "little" and "minimal": the paper gives no numbers.

Claims: Lahiry et al. (2025), arXiv:2504.17839, as its repository's README states them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from cosmolib.cuts.grammar import DENSITY_CUTS, Cut

COSMOLOGY = ("Omega_m", "sigma_8")
SUPPORTED, NOT_SUPPORTED = "supported", "not supported"

INFERRED_R2 = 0.5  # claim 1: more than half of a parameter's variance is explained
LITTLE_LOSS = 0.05  # claims 4 and 5: an R2 loss below this is "little" and "consistent"
MINIMAL_LOSS = 0.10  # claim 6: "minimal" degradation under an aggressive cut
MUCH_SHARE = 0.25  # claim 3: a quarter of all attribution is "much in total"
SATURATION_K = 20.0  # claim 4 [h/Mpc]
MIN_TEST_SIMULATIONS = 5  # a bootstrap by simulation over fewer says nothing


@dataclass(frozen=True)
class Claim:
    """One published claim.

    Attributes
    ----------
    key : str
        Short name.
    statement : str
        The claim in one sentence.
    test : str
        The measured quantity and the rule that decides, in words.
    judge : callable
        Takes a results table; returns the measurement (a phrase with the numbers), the verdict, the
        interval of the deciding number (the one nearest to its threshold, or farthest beyond it)
        and the reason. Raises `NotTestable` where the table cannot decide.
    """

    key: str
    statement: str
    test: str
    judge: Callable[[dict], tuple[str, str, tuple[float, float], str]]


class NotTestable(Exception):  # noqa: N818 (no error: a table may be silent)
    """The table cannot decide a claim; carries the reason and what was measured, if anything."""

    def __init__(self, reason, measurement="not measured"):
        super().__init__(reason)
        self.reason, self.measurement = reason, measurement


# --------------------------------------------------------------------------------------------------
# Reading the table
# --------------------------------------------------------------------------------------------------
def find_row(results: dict, suite: str, cut: str) -> dict | None:
    """Return the row of one suite and cut of a results table, None where no such run was made."""
    cut = str(Cut.parse(cut))
    for row in (*results["rows"], *results.get("control_rows", ())):
        if row["suite"] == suite and row["cut"] == cut:
            return row
    return None


def hydro_suite(results: dict) -> str:
    """Name of the table's suite with feedback: the first that is not gravity-only."""
    for suite in results["suites"]:
        if not suite.startswith("Nbody_"):
            return suite
    raise NotTestable("the study has no suite with feedback")


def twin_of(results: dict) -> str:
    """Name of the gravity-only twin of `hydro_suite`."""
    twin = "Nbody_" + hydro_suite(results)
    if twin not in results["suites"]:
        raise NotTestable(f"the study has no gravity-only twin {twin}")
    return twin


def _row(results, cut):
    suite = hydro_suite(results)
    row = find_row(results, suite, cut)
    if row is None:
        raise NotTestable(f"the study has no run of {suite} with the cut {cut}")
    return row


def estimates_of(entry):
    """The {value, low, high} of the two cosmological parameters, or `NotTestable`."""
    for name in COSMOLOGY:
        estimate = (entry or {}).get(name)
        if estimate is None or any(estimate[key] is None for key in ("value", "low", "high")):
            raise NotTestable(f"the study gives no interval for {name}")
    return [entry[name] for name in COSMOLOGY]


def cuts_of(results: dict, *, controls: bool = False) -> list[Cut]:
    """Return the cuts that were run on the suite with feedback, with or without the controls."""
    rows = [*results["rows"], *(results.get("control_rows", ()) if controls else ())]
    suite = hydro_suite(results)
    return list(dict.fromkeys(Cut.parse(row["cut"]) for row in rows if row["suite"] == suite))


def extreme_cut(results: dict, kind: str, *, overdensity: bool | None = None) -> str | None:
    """Return the most aggressive plain cut of one kind on the suite with feedback, or None.

    The smallest threshold of "above" and "kmax", the largest of "below" and "kmin"; clamp and mean
    fills and the linear field only, no controls. `overdensity` restricts the thresholds to those in
    overdensity (True) or in surface density (False).
    """
    cuts = [
        cut
        for cut in cuts_of(results)
        if cut.kind == kind
        and cut.is_plain
        and cut.fill in (None, "clamp", "mean")
        and cut.field in (None, "linear")
        and overdensity in (None, cut.overdensity)
    ]
    pick = min if kind in ("kmax", "above") else max
    return str(pick(cuts, key=lambda cut: cut.values[0])) if cuts else None


# --------------------------------------------------------------------------------------------------
# The rules
# --------------------------------------------------------------------------------------------------
def _decide(deciding, threshold, above, detail):
    """Return verdict, interval and reason from numbers that must all lie on one side.

    Parameters
    ----------
    deciding : list of dict
        {value, low, high, name} each.
    threshold : float
    above : bool
        The claim requires numbers above the threshold, not below.
    detail : str
        What the numbers are, for the reason.
    """
    margin = [(x["low"] - threshold) if above else (threshold - x["high"]) for x in deciding]
    worst = deciding[margin.index(min(margin))]
    interval = (worst["low"], worst["high"])
    side = "above" if above else "below"
    if min(margin) > 0:
        return SUPPORTED, interval, f"{detail} lies {side} {threshold:g} in every case (95 %)."
    contradicted = worst["high"] < threshold if above else worst["low"] > threshold
    reason = (
        f"{detail} should lie {side} {threshold:g}; for {worst['name']} it is {worst['low']:.2f} "
        f"to {worst['high']:.2f} (95 %), which {'contradicts' if contradicted else 'leaves open'} "
        "the claim."
    )
    return NOT_SUPPORTED, interval, reason


def _named(estimates, suffix=""):
    """Return the two parameters' estimates with their names, for sentences."""
    return [
        estimate | {"name": name + suffix}
        for name, estimate in zip(COSMOLOGY, estimates, strict=True)
    ]


def _losses(results, cut, suffix=""):
    """Return the R2 lost by a cut, as named estimates."""
    return _named([negative(x) for x in estimates_of(_row(results, cut)["difference"])], suffix)


def _pair(estimates):
    """Text of the two parameters' values, in the order Omega_m, sigma_8."""
    return " and ".join(f"{estimate['value']:.2f}" for estimate in estimates)


def _infers(results):
    r2 = estimates_of(_row(results, "none")["r2"])
    return f"R2 {_pair(r2)}", *_decide(_named(r2), INFERRED_R2, True, "R2 per map")


def _both_sides(results):
    cuts = []
    for kind in DENSITY_CUTS:
        zero = f"{kind}:delta=0:clamp"
        known = find_row(results, hydro_suite(results), zero) is not None
        cut = zero if known else extreme_cut(results, kind, overdensity=True)
        if cut is None:
            raise NotTestable(f"the study has no {kind}:delta= cut")
        cuts.append(cut)
    under, over = (estimates_of(_row(results, cut)["r2"]) for cut in cuts)
    measurement = f"R2 {_pair(under)} without over-dense, {_pair(over)} without under-dense pixels"
    deciding = _named(under, f" with {cuts[0]}") + _named(over, f" with {cuts[1]}")
    verdict, interval, reason = _decide(deciding, 0.0, True, "R2 with one side hidden")
    # A clamped map still shows where pixels were cut. Where that control was run, the part that
    # was left visible must tell more than the mask alone.
    controls = [
        x
        for x in results.get("controls", [])
        if x["kind"] == "mask" and x["cut"] in cuts and x["suite"] == hydro_suite(results)
    ]
    if verdict != SUPPORTED or not controls:
        untested = "" if controls else " The mask that a cut leaves was not controlled for."
        return measurement, verdict, interval, reason + untested
    gains = [
        gain
        for x in controls
        for gain in _named(estimates_of(x["difference"]), f" with {x['cut']}")
    ]
    return measurement, *_decide(gains, 0.0, True, "The gain in R2 over the mask alone")


def _per_pixel_and_total(results):
    attribution = results.get("attribution")
    if not attribution:
        raise NotTestable("the study has no attribution by density (chapter 05)")
    ratio, share = (
        [
            item
            for baseline, entry in attribution["baselines"].items()
            for item in _named(estimates_of(entry[key]), f" with the baseline {baseline}")
        ]
        for key in ("over_to_under_per_pixel", "under_share")
    )
    ratios, shares = ([item["value"] for item in items] for items in (ratio, share))
    measurement = (
        f"an over-dense pixel gets {min(ratios):.1f} to {max(ratios):.1f} times the attribution "
        f"of an under-dense one; under-dense pixels get {100 * min(shares):.0f} to "
        f"{100 * max(shares):.0f} % of all ({len(attribution['baselines'])} baselines)"
    )
    # Attribution depends on the baseline: the claim must hold for each.
    found = _decide(ratio, 1.0, True, "Attribution per pixel, over-dense to under-dense,")
    if found[0] == SUPPORTED:
        found = _decide(share, MUCH_SHARE, True, "The under-dense share of all attribution")
    return measurement, *found


def _saturates(results):
    kmax = [c for c in cuts_of(results) if c.kind == "kmax" and c.field == "linear" and c.is_plain]
    nyquist = math.pi * results["grid"] / results["box_size"]
    usable = [cut for cut in kmax if cut.values[0] <= nyquist]
    if not usable:
        raise NotTestable("the study has no kmax cut within the maps' range")
    nearest = min(usable, key=lambda cut: abs(cut.values[0] - SATURATION_K))
    loss = _losses(results, str(nearest))
    measurement = f"R2 lost at k_max = {nearest.values[0]:g} h/Mpc: {_pair(loss)}"
    if nyquist < SATURATION_K:
        raise NotTestable(
            f"The maps end at their Nyquist wavenumber of {nyquist:.1f} h/Mpc; the claim is about "
            f"{SATURATION_K:g} h/Mpc.",
            measurement,
        )
    if not math.isclose(nearest.values[0], SATURATION_K, rel_tol=0.1):
        raise NotTestable(f"the study has no cut near {SATURATION_K:g} h/Mpc", measurement)
    return measurement, *_decide(loss, LITTLE_LOSS, False, "The loss of R2")


def _consistent(results):
    pair = {hydro_suite(results), twin_of(results)}
    cross = [
        x
        for x in results["cross"]
        if {x["trained"], x["tested"]} == pair and x.get("scaling", "trained") == "trained"
    ]
    if len(cross) != 2:
        raise NotTestable("the study has no cross-table of the two suites")
    deciding, parts = [], []
    for x in cross:
        loss = [negative(y) for y in estimates_of(x["difference"])]
        deciding += _named(loss, f", {x['trained']} to {x['tested']}")
        parts.append(f"{_pair(loss)} from {x['trained']} to {x['tested']}")
    measurement = "R2 lost in transfer: " + ", ".join(parts)
    return measurement, *_decide(deciding, LITTLE_LOSS, False, "The loss of R2 in transfer")


def _minimal(results):
    kinds = [("kmax", None), ("kmin", None)]
    kinds += [(kind, relative) for kind in DENSITY_CUTS for relative in (False, True)]
    cuts = [extreme_cut(results, kind, overdensity=relative) for kind, relative in kinds]
    cuts = [cut for cut in cuts if cut]
    if not any(Cut.parse(cut).is_density for cut in cuts):
        raise NotTestable("the study has no density cut")
    if not any(Cut.parse(cut).is_fourier for cut in cuts):
        raise NotTestable("the study has no Fourier cut")
    deciding = [loss for cut in cuts for loss in _losses(results, cut, f" with {cut}")]
    worst = max(deciding, key=lambda x: x["value"])
    measurement = f"largest loss of R2 {worst['value']:.2f}, {worst['name']}"
    return measurement, *_decide(deciding, MINIMAL_LOSS, False, "The loss of R2")


def negative(estimate):
    """Loss from difference: -x, with the limits exchanged."""
    return {"value": -estimate["value"], "low": -estimate["high"], "high": -estimate["low"]}


CLAIMS = (
    Claim(
        "inference",
        "Networks infer Omega_m and sigma_8 while marginalising over feedback.",
        f"R2 per test map, uncut, feedback varied: above {INFERRED_R2:g} for both.",
        _infers,
    ),
    Claim(
        "both-sides",
        "The information comes from over-dense and from under-dense regions.",
        "R2 after retraining with either side of delta = 0 hidden: above 0 for both parameters, "
        "and above that of the mask alone where that control was run.",
        _both_sides,
    ),
    Claim(
        "pixel-and-total",
        "Over-dense regions tell more per pixel, under-dense ones much in total.",
        "Integrated Gradients: attribution per pixel, over-dense to under-dense, above 1 and "
        f"under-dense share of all attribution above {MUCH_SHARE:g}, with every baseline.",
        _per_pixel_and_total,
    ),
    Claim(
        "saturation",
        "The information saturates by k_max of about 20 h/Mpc.",
        f"R2 lost by a cut at k_max = {SATURATION_K:g} h/Mpc: below {LITTLE_LOSS:g} for both.",
        _saturates,
    ),
    Claim(
        "consistency",
        "Predictions are consistent between hydrodynamic and N-body simulations.",
        "R2 lost when a network is tested on the other suite, against one trained there: "
        f"below {LITTLE_LOSS:g} in both directions and for both parameters.",
        _consistent,
    ),
    Claim(
        "degradation",
        "Degradation is minimal even after aggressive Fourier or density cuts.",
        "R2 lost by the most aggressive cut of each kind: "
        f"below {MINIMAL_LOSS:g} for every one and both parameters.",
        _minimal,
    ),
)


def judge(results: dict) -> list[dict]:
    """Judge the six claims by a results table.

    Parameters
    ----------
    results : dict
        See `cosmolib.results.table`; ``attribution`` is the table of chapter 05, or None, with
        ``baselines``: {name: dict of ``over_to_under_per_pixel`` and ``under_share``}.

    Returns
    -------
    list of dict
        In the order of `CLAIMS`: number, key, statement, test, measurement, interval (None where
        nothing is decided), verdict ("supported", "not supported" or "not testable on <data set>")
        and reason.

    Raises
    ------
    ValueError
        A key of the table is missing.
    """
    needed = ("dataset", "suites", "grid", "box_size", "n_test_simulations", "rows", "cross")
    missing = [key for key in needed if key not in results]
    if missing:
        raise ValueError(f"results table: found no {', '.join(missing)}, expected {needed}")
    return [
        {"number": number, "key": claim.key, "statement": claim.statement, "test": claim.test}
        | _judge_one(claim, results)
        for number, claim in enumerate(CLAIMS, 1)
    ]


def _judge_one(claim, results):
    interval, verdict = None, f"not testable on {results['dataset']}"
    try:
        measurement, decided, limits, reason = claim.judge(results)
    except NotTestable as error:
        measurement = error.measurement
        reason = error.reason[0].upper() + error.reason[1:].removesuffix(".") + "."
    else:
        if results["n_test_simulations"] < MIN_TEST_SIMULATIONS:
            reason = (
                f"{results['n_test_simulations']} test simulation(s) give no interval; at least "
                f"{MIN_TEST_SIMULATIONS} are needed."
            )
        else:
            interval, verdict = list(limits), decided
    return {
        "measurement": measurement,
        "interval": interval,
        "verdict": verdict,
        "reason": reason,
    }
