"""Controls: does the evidence for each claim survive if one side effect of the cuts is removed?

A cut does more than hide information: it leaks which pixels were cut, its threshold in surface
density follows Omega_m, a sharp filter makes pixels negative, the mean of the map remains, and the
maps have no noise. Each control removes or isolates one of these effects and repeats the question
of a claim, with the thresholds of `cosmolib.results.claims` and the same results table.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from cosmolib.cuts.grammar import DENSITY_CUTS, FIELDS, FILLS, Cut
from cosmolib.results import claims
from cosmolib.results.measurements import NotTestable, case, cross_cases, pairs_of, rows_of
from cosmolib.training.scores import as_text

SURVIVES, FAILS, NOT_RUN = "survives", "does not survive", "not run"
_WITHOUT_MEAN = Cut.parse(claims.NO_MEAN).before


def pairs(cuts) -> list[tuple[str, str, str]]:
    """Find all pairs of a cut and its control among some cuts, as (kind, cut, control).

    ======== ===================================================================================
    mask     a density cut, and only its mask (or the negative of the mask, which is equivalent)
    maskmean the same cut of maps without their mean, and only the mask and the mean
    moved    a density cut, and the same mask shifted by half a box
    shuffle  a density cut, and as many pixels cut at random places
    fill     a density cut that clamps, and the same with another fill
    field    a Fourier cut of the linear map, and the same of its log (or overdensity)
    nomean   a cut, and the same of maps divided by their mean
    ======== ===================================================================================
    """
    known = {str(cut): cut for cut in map(Cut.parse, cuts)}
    found = []

    def masks(cut, control):
        kinds = sorted(DENSITY_CUTS, key=lambda kind: kind != cut.kind)
        both = [replace(cut, kind=k, fill=None, control=control, before=()) for k in kinds]
        return [(control, mask) for mask in both if str(mask) in known][:1]

    for text, cut in known.items():
        wanted = [("nomean", replace(cut, before=_WITHOUT_MEAN))] if cut.is_plain else []
        if cut.control is None and cut.is_density and cut.before == _WITHOUT_MEAN:
            wanted = masks(cut, "maskmean")
        if cut.is_plain and cut.is_density:
            wanted += masks(cut, "mask")
            wanted += [(kind, replace(cut, control=kind)) for kind in ("moved", "shuffle")]
            if cut.fill == "clamp":
                wanted += [("fill", replace(cut, fill=fill)) for fill in FILLS[1:]]
        if cut.is_plain and cut.is_fourier and cut.field == "linear":
            wanted += [("field", replace(cut, field=field)) for field in FIELDS[1:]]
        found += [(kind, text, str(control)) for kind, control in wanted if str(control) in known]
    return found


@dataclass(frozen=True)
class Control:
    """One control of one claim.

    Attributes
    ----------
    claim : str
        Key of a `cosmolib.results.claims.Claim`.
    kind : str
        Measurement: "r2"; "loss", of R2 relative to uncut maps; "noise", R2 for each level of white
        noise before a cut; "mask", "moved" or "field", R2 of a cut minus that of this control of
        it; "scaling", the loss on the other suite if each suite is scaled by itself.
    wanted : callable
        Takes a `Cut`; whether it is measured.
    threshold : float
    question : str
        The question and the rule that decides it.
    above : bool
        Whether the claim survives numbers above the threshold, or numbers below it.
    reverse : bool
        Control minus cut instead of cut minus control.
    """

    claim: str
    kind: str
    wanted: Callable[[Cut], bool] | None
    threshold: float
    question: str
    above: bool = True
    reverse: bool = False


def judge(results: dict) -> list[dict]:
    """Judge every control by a results table.

    Parameters
    ----------
    results : dict
        As for `cosmolib.results.claims.judge`, with ``control_rows`` and ``controls``.

    Returns
    -------
    list of dict
        claim (its key), question, measured (text) and verdict: "survives" if every 95 % interval
        lies on the claim's side of the threshold, "does not survive" if one lies on the other side,
        otherwise "left open"; "not run" if the study has no such case. For noise the verdict is the
        highest level up to which the claim survives at all levels.
    """
    return [{"claim": x.claim, "question": x.question, **_judge_one(x, results)} for x in CONTROLS]


def _judge_one(control, results):
    try:
        cases = _measure(control, results)
        if not cases:
            raise NotTestable("not measured")
        if results["n_test_simulations"] < claims.MIN_TEST_SIMULATIONS:
            raise NotTestable("too few test simulations for intervals")
    except NotTestable as error:
        return {"measured": error.reason, "verdict": NOT_RUN}
    verdicts = [_side(entry.values(), control.threshold, control.above) for _, entry in cases]
    verdict = min(verdicts, key=[FAILS, claims.OPEN, SURVIVES].index)  # the worst decides
    if control.kind == "noise":
        held = next((i for i, v in enumerate(verdicts) if v != SURVIVES), len(verdicts))
        verdict = f"survives up to {cases[held - 1][0]}" if held else verdicts[0]
    texts = (f"{what}: {' and '.join(map(as_text, entry.values()))}" for what, entry in cases)
    return {"measured": "; ".join(texts), "verdict": verdict}


def _side(estimates, threshold, above):
    sign, near, far = (1, "low", "high") if above else (-1, "high", "low")
    if all(sign * (x[near] - threshold) > 0 for x in estimates):
        return SURVIVES
    return FAILS if any(sign * (x[far] - threshold) < 0 for x in estimates) else claims.OPEN


# --------------------------------------------------------------------------------------------------
# What is measured
# --------------------------------------------------------------------------------------------------
def _measure(control, results):
    """Return the cases of a control, see `cosmolib.results.measurements`."""
    if control.kind == "scaling":
        return cross_cases(results, "tested")
    if control.kind in ("mask", "moved", "field"):
        order = ("control", "cut") if control.reverse else ("cut", "control")
        return [
            case(" minus ".join(pair[one] for one in order), pair["difference"], control.reverse)
            for pair in pairs_of(results, control.kind)
            # The overdensity is the linear map up to a factor: only the log is another field.
            if control.wanted(Cut.parse(pair["cut"]))
            and Cut.parse(pair["control"]).field in (None, "log")
        ]
    rows = {Cut.parse(cut): row for cut, row in rows_of(results).items()}
    cuts = [cut for cut in rows if control.wanted(cut)]
    if control.kind == "noise":
        cuts.sort(key=lambda cut: cut.noise[1])
        return [case(f"noise {cut.noise[1]:g}", rows[cut]["best"]) for cut in cuts]
    lost = control.kind == "loss"
    return [case(str(cut), rows[cut]["best_difference" if lost else "best"], lost) for cut in cuts]


def _is(*cuts):
    return lambda cut: str(cut) in cuts


def _noisy(base):
    """Accept white noise of any level, added to maps without their mean, before a cut."""
    steps = ("nomean", "white")
    return lambda cut: (*dict(cut.before),) == steps and str(replace(cut, before=())) == base


def _other_fill(cut):
    return cut.is_plain and cut.fill in FILLS[1:]


def _absolute_without_mean(cut):
    return cut.is_density and not cut.overdensity and cut.before == _WITHOUT_MEAN


CONTROLS = (
    Control("inference", "r2", _is(claims.NO_MEAN), claims.INFERRED_R2,
            f"With the mean of each map divided out, is R2 still above {claims.INFERRED_R2:g}?"),
    Control("inference", "noise", _noisy("none"), claims.INFERRED_R2,
            "With the mean divided out and white noise added (in units of the mean density), is R2 "
            f"above {claims.INFERRED_R2:g}?"),
    Control("both-sides", "mask", _is(claims.UNDER, claims.OVER), 0.0,
            "Does the visible side give a higher R2 than the mask of the cut pixels alone?"),
    Control("both-sides", "r2", _other_fill, 0.0,
            "With hidden pixels set to the mean or to random values, is R2 still above 0?"),
    Control("both-sides", "r2", _absolute_without_mean, 0.0,
            "With absolute thresholds on maps without their mean, is R2 above 0?"),
    Control("both-sides", "noise", _noisy(claims.UNDER), 0.0,
            "Without the mean but with noise, do under-dense pixels alone give an R2 above 0?"),
    Control("both-sides", "noise", _noisy(claims.OVER), 0.0,
            "Without the mean but with noise, do over-dense pixels alone give an R2 above 0?"),
    Control("pixel-and-total", "moved", _is(claims.UNDER), 0.0,
            "After retraining, does hiding the over-dense pixels cost more than hiding the pixels "
            "under the same mask shifted by half a box?", reverse=True),
    Control("pixel-and-total", "moved", _is(claims.OVER), 0.0,
            "After retraining, does hiding the under-dense pixels cost less than hiding the pixels "
            "under their mask shifted by half a box?"),
    Control("saturation", "field", lambda cut: cut.kind == "kmax", claims.LITTLE_LOSS,
            "If the log of the map is filtered, so that no pixel becomes negative, is the loss of "
            f"a k_max cut at most {claims.LITTLE_LOSS:g} smaller?", above=False, reverse=True),
    Control("consistency", "scaling", None, claims.LITTLE_LOSS,
            "With each tested suite scaled by itself, is the loss of R2 below "
            f"{claims.LITTLE_LOSS:g}?", above=False),
    Control("degradation", "loss", _is(claims.UNDER, claims.OVER), claims.MINIMAL_LOSS,
            "With thresholds in overdensity, is the loss of R2 below "
            f"{claims.MINIMAL_LOSS:g}?", above=False),
    Control("degradation", "loss", _other_fill, claims.MINIMAL_LOSS,
            f"With other fills, is the loss of R2 below {claims.MINIMAL_LOSS:g}?", above=False),
    Control("degradation", "loss", _is(f"{claims.AGGRESSIVE[0]}@log"), claims.MINIMAL_LOSS,
            "With the k_max cut applied to the log, is the loss of R2 below "
            f"{claims.MINIMAL_LOSS:g}?", above=False),
)  # fmt: skip
