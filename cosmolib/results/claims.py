"""The paper's six claims, the measurement for each, and the rule that decides.

A rule is written before any number is seen and uses only the results table of chapter 06 (see
`cosmolib.results.table`), so that anybody can judge another table by it. A claim is *supported*
only if the whole 95 % interval of every deciding number lies on the claim's side of its threshold;
otherwise it is *not supported*, and the reason says whether the numbers contradict it or leave it
open. A claim that the data cannot address is *not testable* on them, and one that could not fail on
them has *no power* there. R2 is that of the network or of summary statistics, whichever predicts
the validation maps better: where the network is worse, its loss measures training. The thresholds
are our reading of words such as "little" and "minimal": the paper gives no numbers.

Claims: Lahiry et al. (2025), arXiv:2504.17839, as its repository's README states them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

from cosmolib.cuts.grammar import Cut
from cosmolib.training.scores import COSMOLOGY, Z95

SUPPORTED, NOT_SUPPORTED = "supported", "not supported"
NOT_TESTABLE, NO_POWER = "not testable", "no power"
UNDER, OVER = "above:delta=0:clamp", "below:delta=0:clamp"  # named for what stays visible
# Claim 2: a clamp at delta = 0 shows the mean of the map, hidden pixels included.
WITHOUT_MEAN = (f"nomean:{UNDER}", f"nomean:{OVER}")
NO_MEAN = "nomean:none"
# Claim 6, fixed so that no profile makes it easier: the second-smallest published k_max and the
# middle of each published list of thresholds.
AGGRESSIVE = ("kmax:5", "above:2e11:clamp", "below:4e11:clamp")

INFERRED_R2 = 0.5  # claim 1: more than half of a parameter's variance is explained
LITTLE_LOSS = 0.05  # claims 4 and 5: an R2 loss below this is "little" and "consistent"
MINIMAL_LOSS = 0.10  # claim 6: "minimal" degradation under an aggressive cut
MUCH_SHARE = 0.25  # claim 3: a quarter of all bits is "much in total"
VISIBLE_R2 = 0.1  # claims 1 and 5: feedback whose parameters are this visible can mislead
SATURATION_K = 20.0  # claim 4 [h/Mpc]
MIN_TEST_SIMULATIONS = 5  # a bootstrap by simulation over fewer says nothing


@dataclass(frozen=True)
class Claim:
    """One published claim: short name, one sentence, what is measured and decides, in words.

    Attributes
    ----------
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

    def __init__(self, reason, measurement="not measured", verdict=NOT_TESTABLE):
        super().__init__(reason)
        self.reason, self.measurement, self.verdict = reason, measurement, verdict


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


# --------------------------------------------------------------------------------------------------
# The rules
# --------------------------------------------------------------------------------------------------
def _decide(deciding, threshold, above, detail):
    """Return verdict, interval and reason from numbers that must all lie on one side.

    All must for a claim to be supported, which needs no correction for their number. One that lies
    on the other side contradicts it, by an interval of 1 - 0.05 / n (Bonferroni, n numbers).
    ``deciding`` holds a {value, low, high, name} each; ``detail`` says what they are.
    """
    sign, side = (1, "above") if above else (-1, "below")
    near, far = ("low", "high") if above else ("high", "low")
    factor = NormalDist().inv_cdf(1 - 0.025 / len(deciding)) / Z95
    margins = [sign * (x[near] - threshold) for x in deciding]
    beyond = [sign * (x["value"] + factor * (x[far] - x["value"]) - threshold) for x in deciding]
    if min(margins) > 0:
        worst = deciding[margins.index(min(margins))]
        reason = f"{detail} lies {side} {threshold:g} in every case (95 %)."
        return SUPPORTED, (worst["low"], worst["high"]), reason
    contradicted = min(beyond) < 0
    worst = deciding[beyond.index(min(beyond)) if contradicted else margins.index(min(margins))]
    reason = (
        f"{detail} should lie {side} {threshold:g}; for {worst['name']} it is {worst['low']:.2f} "
        f"to {worst['high']:.2f} (95 %), which {'contradicts' if contradicted else 'leaves open'} "
        "the claim."
    )
    return NOT_SUPPORTED, (worst["low"], worst["high"]), reason


def _named(estimates, suffix=""):
    """Return the two parameters' estimates with their names, for sentences."""
    return [
        estimate | {"name": name + suffix}
        for name, estimate in zip(COSMOLOGY, estimates, strict=True)
    ]


def _losses(results, cut, suffix=""):
    """Return the R2 lost by a cut, as named estimates."""
    entry = _row(results, cut)["best_difference"]
    return _named([negative(x) for x in estimates_of(entry)], suffix)


def _pair(estimates):
    """Text of the two parameters' values, in the order Omega_m, sigma_8."""
    return " and ".join(f"{estimate['value']:.2f}" for estimate in estimates)


def _require_power(results, measurement):
    """Refuse to judge robustness against feedback that leaves no trace in the maps."""
    feedback = results.get("feedback")
    found = [x for x in (feedback or {}).get("r2", {}).values() if x["low"] is not None]
    if not found:
        raise NotTestable("the study does not say whether its feedback is visible", measurement)
    most = max(found, key=lambda x: x["low"])
    if most["low"] < VISIBLE_R2:
        raise NotTestable(
            f"feedback moves the maps by {feedback['rms_dex']:.4f} dex rms, and summary statistics "
            f"predict none of its parameters (R2 at most {max(x['value'] for x in found):.2f}): a "
            "network could not fail by it",
            measurement,
            NO_POWER,
        )


def _infers(results):
    r2 = estimates_of(_row(results, "none")["best"])
    measurement = f"R2 {_pair(r2)}"
    _require_power(results, measurement)
    return measurement, *_decide(_named(r2), INFERRED_R2, True, "R2 per map")


def _both_sides(results):
    gains = []
    for cut in WITHOUT_MEAN:
        pairs = [x for x in results.get("controls", ()) if x["kind"] == "maskmean"]
        pairs = [x for x in pairs if x["cut"] == cut and x["suite"] == hydro_suite(results)]
        if not pairs:
            raise NotTestable(f"the study has no run of {cut} and of the mask with the mean")
        gains.append(estimates_of(pairs[0]["difference"]))
    under, over = map(_pair, gains)
    measurement = (
        f"R2 without the mean, minus that of the mask and the mean: {under} from under-dense, "
        f"{over} from over-dense pixels"
    )
    cases = zip(WITHOUT_MEAN, gains, strict=True)
    deciding = [x for cut, two in cases for x in _named(two, f" with {cut}")]
    return measurement, *_decide(deciding, 0.0, True, "The gain in R2 over the mask and the mean")


def _per_pixel_and_total(results):
    attribution = results.get("attribution")
    if not attribution:
        raise NotTestable("the study has no attribution by density (chapter 05)")
    ratios = [
        item
        for baseline, entry in attribution["baselines"].items()
        for item in _named(estimates_of(entry["ratio_to_null"]), f" with the baseline {baseline}")
    ]
    values = [item["value"] for item in ratios]
    measurement = (
        f"attribution per pixel, over-dense to under-dense, {min(values):.1f} to "
        f"{max(values):.1f} times that of networks that learnt nothing "
        f"({len(attribution['baselines'])} baselines)"
    )
    # Attribution depends on the baseline: the claim must hold for each.
    found = _decide(ratios, 1.0, True, "Attribution per pixel relative to chance")
    if found[0] != SUPPORTED:
        return measurement, *found
    under, whole = (_row(results, cut)["bits"].get("both") for cut in (WITHOUT_MEAN[0], NO_MEAN))
    if None in (under, whole) or None in (under["low"], whole["low"]):
        raise NotTestable("the study does not say how many bits its maps tell", measurement)
    measurement += (
        f"; under-dense pixels alone tell {under['value']:.2f} of {whole['value']:.2f} bits"
    )
    # Both intervals at their worst: wider than that of the paired difference.
    margin = {
        "value": under["value"] - MUCH_SHARE * whole["value"],
        "low": under["low"] - MUCH_SHARE * whole["high"],
        "high": under["high"] - MUCH_SHARE * whole["low"],
        "name": "Omega_m and sigma_8",
    }
    detail = f"The bits of under-dense pixels, less {MUCH_SHARE:g} of all,"
    return measurement, *_decide([margin], 0.0, True, detail)


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
    _require_power(results, measurement)
    return measurement, *_decide(deciding, LITTLE_LOSS, False, "The loss of R2 in transfer")


def _minimal(results):
    deciding = [loss for cut in AGGRESSIVE for loss in _losses(results, cut, f" with {cut}")]
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
        f"R2 per test map, uncut: above {INFERRED_R2:g} for both, if summary statistics predict a "
        f"parameter of feedback with an R2 above {VISIBLE_R2:g}.",
        _infers,
    ),
    Claim(
        "both-sides",
        "The information comes from over-dense and from under-dense regions.",
        "R2 after retraining with either side of delta = 0 hidden and the mean divided out: above "
        "that of the mask and the mean, for both parameters.",
        _both_sides,
    ),
    Claim(
        "pixel-and-total",
        "Over-dense regions tell more per pixel, under-dense ones much in total.",
        "Integrated Gradients: attribution per pixel, over-dense to under-dense, above that of "
        "untrained networks and of shuffled labels, with every baseline, over seeds; and "
        f"under-dense pixels alone tell more than {MUCH_SHARE:g} of all bits.",
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
        f"below {LITTLE_LOSS:g} in both directions and for both parameters, if feedback is visible "
        "as for claim 1.",
        _consistent,
    ),
    Claim(
        "degradation",
        "Degradation is minimal even after aggressive Fourier or density cuts.",
        f"R2 lost by {', '.join(AGGRESSIVE)}: below {MINIMAL_LOSS:g} for each and both parameters.",
        _minimal,
    ),
)


def judge(results: dict) -> list[dict]:
    """Judge the six claims by a results table.

    Parameters
    ----------
    results : dict
        See `cosmolib.results.table`; ``attribution`` is the table of chapter 05, or None, with
        ``baselines``: {name: {"ratio_to_null": {parameter: estimate}}}.

    Returns
    -------
    list of dict
        In the order of `CLAIMS`: number, key, statement, test, measurement, interval (None where
        nothing is decided), verdict ("supported", "not supported", "not testable on <data set>" or
        "no power on <data set>") and reason.

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
    interval, verdict = None, f"{NOT_TESTABLE} on {results['dataset']}"
    try:
        measurement, decided, limits, reason = claim.judge(results)
    except NotTestable as error:
        measurement, verdict = error.measurement, f"{error.verdict} on {results['dataset']}"
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
