"""The six claims of the paper, with the measurement and the rule that decide each of them.

The rules were written before the numbers were known. They use only the results table of chapter 06
(see `cosmolib.results.table`), so that any other table can be judged in the same way. A claim is
*supported* only if the whole 95 % interval of every deciding number lies on the claim's side of its
threshold, *not supported* if a number contradicts it, and otherwise *left open*. It is *not
testable* on data that cannot address it, and has *no power* on data on which it could not fail:
claims 1 and 5, on robustness to feedback, use the suite on which feedback is most visible. R2
is that of the network or of summary statistics, whichever predicts the validation maps better: a
loss of the worse one would measure its training. The paper gives no numbers for words such as
"little" and "minimal"; the thresholds are our choice.

Claims: Lahiry et al. (2025), arXiv:2504.17839, as stated in the README of their repository.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

from cosmolib.cuts.grammar import Cut
from cosmolib.results import measurements
from cosmolib.results.measurements import NotTestable, case, pairs_of, rows_of
from cosmolib.training.scores import COSMOLOGY, Z95, as_estimate

SUPPORTED, NOT_SUPPORTED, OPEN = "supported", "not supported", "left open"
NOT_TESTABLE, NO_POWER = "not testable", "no power"
UNDER, OVER = "above:delta=0:clamp", "below:delta=0:clamp"  # named after the visible pixels
# Claim 2 needs maps without their mean: a clamp at delta = 0 reveals the mean of the whole map.
WITHOUT_MEAN = (f"nomean:{UNDER}", f"nomean:{OVER}")
NO_MEAN = "nomean:none"
# Claim 6, the same for all profiles: the second-smallest published k_max and the middle of each
# published list of thresholds.
AGGRESSIVE = ("kmax:5", "above:2e11:clamp", "below:4e11:clamp")

INFERRED_R2 = 0.5  # claim 1: more than half of the variance of a parameter is explained
LITTLE_LOSS = 0.05  # claims 4 and 5: an R2 loss below this is "little" and "consistent"
MINIMAL_LOSS = 0.10  # claim 6: "minimal" degradation under an aggressive cut
MUCH_SHARE = 0.25  # claim 3: a quarter of all bits is "much in total"
VISIBLE_R2 = 0.1  # claims 1 and 5: feedback whose parameters are this visible can mislead
SATURATION_K = 20.0  # claim 4 [h/Mpc]
MIN_TEST_SIMULATIONS = 5  # a bootstrap over fewer simulations gives no useful interval


@dataclass(frozen=True)
class Claim:
    """A published claim and its rule.

    Attributes
    ----------
    key : str
        Short name.
    judge : callable
        Takes a results table; returns the measurement (text with the numbers), the verdict, the
        interval of the deciding number and the reason. The deciding number is the one closest to
        its threshold, or farthest beyond it. Raises `NotTestable` if the table cannot decide.
    statement : str
        The claim in one sentence.
    test : str
        The measurement and the rule, in words.
    """

    key: str
    judge: Callable[[dict], tuple[str, str, list[float], str]]
    statement: str
    test: str


# --------------------------------------------------------------------------------------------------
# The rules
# --------------------------------------------------------------------------------------------------
def _decide(cases, threshold, above, what, note=""):
    """Return verdict, interval and reason from the numbers of some cases.

    A claim is supported if all numbers lie on one side, which needs no correction for their number.
    A number on the other side contradicts it; because there are n of them, its interval for this
    has a level of 1 - 0.05 / n (Bonferroni).
    """
    found = {
        f"{name} ({about})" if about else name: x
        for about, entry in cases
        for name, x in entry.items()
    }
    sign, side = (1, "above") if above else (-1, "below")
    near, far = ("low", "high") if above else ("high", "low")
    factor = NormalDist().inv_cdf(1 - 0.025 / len(found)) / Z95
    margins = {name: sign * (x[near] - threshold) for name, x in found.items()}
    beyond = {
        name: sign * (x["value"] + factor * (x[far] - x["value"]) - threshold)
        for name, x in found.items()
    }
    supported = min(margins.values()) > 0
    contradicted = not supported and min(beyond.values()) < 0
    worst = min(found, key=(beyond if contradicted else margins).get)
    interval = [found[worst]["low"], found[worst]["high"]]
    if supported:
        return SUPPORTED, interval, f"{what} lies {side} {threshold:g} in every case (95 %).{note}"
    verdict = NOT_SUPPORTED if contradicted else OPEN
    outcome = "contradicts the claim" if contradicted else "leaves the claim open"
    reason = (
        f"{what} should lie {side} {threshold:g}; for {worst} the 95 % interval is "
        f"{interval[0]:.2f} to {interval[1]:.2f}, which {outcome}."
    )
    return verdict, interval, reason + note


def _rows(results, cuts, suite=None):
    """Return the rows of some cuts of a suite, by default that with feedback; all are needed."""
    rows = rows_of(results, suite)
    if missing := [cut for cut in cuts if cut not in rows]:
        what = suite or "the suite with feedback"
        raise NotTestable(f"the study has no run of {what} under {missing[0]}")
    return [rows[cut] for cut in cuts]


def _text(case):
    """Write the values of both parameters, in the order Omega_m, sigma_8."""
    return " and ".join(f"{case[1][name]['value']:z.2f}" for name in COSMOLOGY)


def _require_power(results, measurement):
    """Refuse to judge robustness against feedback that leaves no trace in the maps.

    Returns a sentence on the suites that have no power, because they are not judged.
    """
    suite, traces = measurements.visible_suite(results), results.get("feedback") or {}
    found = {
        name: [x for x in trace["r2"].values() if x["low"] is not None]
        for name, trace in traces.items()
    }
    if not found.get(suite):
        raise NotTestable("the study did not measure whether its feedback is visible", measurement)
    hidden = [
        f"on {name} feedback changes the maps by {traces[name]['rms_dex']:.4f} dex rms, and "
        "summary statistics predict none of its parameters (R2 at most "
        f"{max(x['value'] for x in r2):.2f}), so that it could not mislead a network"
        for name, r2 in found.items()
        if r2 and max(x["low"] for x in r2) < VISIBLE_R2
    ]
    if len(hidden) == len(found):
        raise NotTestable("; ".join(hidden), measurement, NO_POWER)
    return "".join(f" Not judged: {text}." for text in hidden)


def _infers(results):
    suite = measurements.visible_suite(results)
    (row,) = _rows(results, ["none"], suite)
    cases = [case("", row["best"])]
    measurement = f"R2 {_text(cases[0])} on {suite}"
    note = _require_power(results, measurement)
    return measurement, *_decide(cases, INFERRED_R2, True, "R2 per map", note)


def _both_sides(results):
    gains = {pair["cut"]: pair["difference"] for pair in pairs_of(results, "maskmean")}
    if missing := [cut for cut in WITHOUT_MEAN if cut not in gains]:
        raise NotTestable(f"the study has no run of {missing[0]} and of its mask with the mean")
    cases = [case(cut, gains[cut]) for cut in WITHOUT_MEAN]
    measurement = (
        "R2 of maps without their mean, minus that of the mask and the mean: "
        "{} from under-dense, {} from over-dense pixels".format(*map(_text, cases))
    )
    return measurement, *_decide(cases, 0.0, True, "The gain in R2 over the mask and the mean")


def _per_pixel_and_total(results):
    attribution = results.get("attribution")
    if not attribution:
        raise NotTestable("the study has no attribution by density (chapter 05)")
    baselines = attribution["baselines"].items()
    cases = [case(f"baseline {name}", entry["ratio_to_null"]) for name, entry in baselines]
    values = [x["value"] for _, entry in cases for x in entry.values()]
    text = (
        f"the ratio of over- to under-dense attribution per pixel is {min(values):.1f} to "
        f"{max(values):.1f} times that of networks that learnt nothing ({len(cases)} baselines)"
    )
    # Attribution depends on the baseline: the claim must hold for each.
    pixel = _decide(cases, 1.0, True, "Attribution per pixel relative to such networks")
    rows = rows_of(results)
    under, whole = (rows.get(x, {}).get("bits", {}).get("both") for x in (WITHOUT_MEAN[0], NO_MEAN))
    if any(x is None or x["low"] is None for x in (under, whole)):
        if pixel[0] == SUPPORTED:
            raise NotTestable("the study did not measure the bits per map", text)
        return text, *pixel
    text += f"; under-dense pixels alone carry {under['value']:.2f} of {whole['value']:.2f} bits"
    # Both intervals at their worst, which is wider than that of the paired difference.
    ends = (("value", "value"), ("low", "high"), ("high", "low"))
    margin = as_estimate([under[end] - MUCH_SHARE * whole[other] for end, other in ends])
    what = f"The number of bits of under-dense pixels, minus {MUCH_SHARE:g} of all bits,"
    total = _decide([("", {"both parameters": margin})], 0.0, True, what)
    worst = min(pixel, total, key=lambda part: (NOT_SUPPORTED, OPEN, SUPPORTED).index(part[0]))
    return text, *worst[:2], f"{pixel[2]} {total[2]}"


def _saturates(results):
    nyquist = math.pi * results["grid"] / results["box_size"]
    rows = rows_of(results | {"control_rows": ()})
    kmax = {
        cut.values[0]: row
        for cut, row in ((Cut.parse(text), row) for text, row in rows.items())
        if (cut.kind, cut.field) == ("kmax", "linear") and cut.is_plain and cut.values[0] <= nyquist
    }
    if not kmax:
        raise NotTestable("the study has no kmax cut below the Nyquist wavenumber of the maps")
    nearest = min(kmax, key=lambda k: abs(k - SATURATION_K))
    cases = [case("", kmax[nearest]["best_difference"], lost=True)]
    measurement = f"R2 lost at k_max = {nearest:g} h/Mpc: {_text(cases[0])}"
    if nyquist < SATURATION_K:
        found = f"the Nyquist wavenumber of the maps is {nyquist:.1f} h/Mpc"
        about = f"and the claim is about {SATURATION_K:g} h/Mpc"
        raise NotTestable(f"{found}, {about}", measurement)
    if not math.isclose(nearest, SATURATION_K, rel_tol=0.1):
        raise NotTestable(f"the study has no cut near {SATURATION_K:g} h/Mpc", measurement)
    return measurement, *_decide(cases, LITTLE_LOSS, False, "The loss of R2")


def _consistent(results):
    cases = measurements.cross_cases(results, "trained")
    if len(cases) != 2:
        raise NotTestable("the study did not test the networks of both suites on the other one")
    losses = ", ".join(f"{_text(one)} ({one[0]})" for one in cases)
    measurement = f"R2 lost on the other suite: {losses}"
    note, what = _require_power(results, measurement), "The loss of R2 on the other suite"
    return measurement, *_decide(cases, LITTLE_LOSS, False, what, note)


def _minimal(results):
    rows = _rows(results, AGGRESSIVE)
    cases = [case(row["cut"], row["best_difference"], lost=True) for row in rows]
    losses = [(x["value"], f"{name} under {cut}") for cut, two in cases for name, x in two.items()]
    measurement = "largest loss of R2 {:.2f}, {}".format(*max(losses))
    return measurement, *_decide(cases, MINIMAL_LOSS, False, "The loss of R2")


CLAIMS = (
    Claim("inference", _infers,
          "Networks infer Omega_m and sigma_8 while marginalising over feedback.",
          f"R2 per test map, uncut: above {INFERRED_R2:g} for both parameters, provided that "
          f"summary statistics predict a feedback parameter with an R2 above {VISIBLE_R2:g}."),
    Claim("both-sides", _both_sides,
          "The information comes from over-dense and from under-dense regions.",
          "R2 of networks retrained with either side of delta = 0 hidden and the mean divided out: "
          "above that of the mask and the mean, for both parameters."),
    Claim("pixel-and-total", _per_pixel_and_total,
          "Over-dense regions carry more information per pixel, under-dense ones much in total.",
          "Integrated Gradients: attribution per pixel, over-dense to under-dense, above that of "
          "untrained networks and of networks trained on shuffled labels, for every baseline, over "
          f"seeds; and under-dense pixels alone carry more than {MUCH_SHARE:g} of all bits."),
    Claim("saturation", _saturates,
          "The information saturates by k_max of about 20 h/Mpc.",
          f"R2 lost by a cut at k_max = {SATURATION_K:g} h/Mpc: below {LITTLE_LOSS:g} for both "
          "parameters."),
    Claim("consistency", _consistent,
          "Predictions are consistent between hydrodynamic and N-body simulations.",
          "R2 that a network loses on the other suite, relative to one trained there: below "
          f"{LITTLE_LOSS:g} in both directions and for both parameters, provided that feedback is "
          "visible as for claim 1."),
    Claim("degradation", _minimal,
          "Degradation is minimal even after aggressive Fourier or density cuts.",
          f"R2 lost by each of {', '.join(AGGRESSIVE)}: below {MINIMAL_LOSS:g} for both "
          "parameters."),
)  # fmt: skip


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
        In the order of `CLAIMS`: number, key, statement, test, measurement, interval (None if
        nothing is decided), verdict ("supported", "not supported", "left open", "not testable on
        <data set>" or "no power on <data set>") and reason.

    Raises
    ------
    ValueError
        A key of the table is missing.
    """
    needed = ("dataset", "suites", "grid", "box_size", "n_test_simulations", "rows", "cross")
    if missing := [key for key in needed if key not in results]:
        raise ValueError(f"results table: found no {', '.join(missing)}, expected {needed}")
    return [
        {"number": number, "key": claim.key, "statement": claim.statement, "test": claim.test}
        | _judge_one(claim, results)
        for number, claim in enumerate(CLAIMS, 1)
    ]


def _judge_one(claim, results):
    try:
        measurement, verdict, interval, reason = claim.judge(results)
        if (count := results["n_test_simulations"]) < MIN_TEST_SIMULATIONS:
            expected = f"at least {MIN_TEST_SIMULATIONS} are needed"
            raise NotTestable(f"{count} test simulations give no interval; {expected}", measurement)
    except NotTestable as error:
        measurement, verdict = error.measurement, f"{error.verdict} on {results['dataset']}"
        interval, reason = None, f"{error.reason[0].upper()}{error.reason[1:]}."
    return {"measurement": measurement, "interval": interval, "verdict": verdict, "reason": reason}
