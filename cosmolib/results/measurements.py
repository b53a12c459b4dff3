"""Read measurements from a results table: R2, its losses and paired differences.

The claims and their controls are judged by *cases*: pairs of a description and the estimates of
Omega_m and sigma_8, ``(what, {parameter: {"value", "low", "high"}})``. All cases are of the suite
with feedback. `cosmolib.results.table` describes the results table.
"""

from cosmolib.data.cmd_format import regions_of
from cosmolib.training.scores import COSMOLOGY


class NotTestable(Exception):  # noqa: N818 (a possible outcome, not an error)
    """The table cannot decide a claim; contains the reason and the measurement, if there is one."""

    def __init__(self, reason, measurement="not measured", verdict="not testable"):
        super().__init__(reason)
        self.reason, self.measurement, self.verdict = reason, measurement, verdict


def hydro_suite(results: dict) -> str:
    """Return the name of the suite with feedback: the first that is not gravity-only."""
    if found := [suite for suite in results["suites"] if not suite.startswith("Nbody_")]:
        return found[0]
    raise NotTestable("the study has no suite with feedback")


def visible_suite(results: dict) -> str:
    """Return the suite with feedback whose parameters are most visible in the maps."""
    seen = {
        suite: max((x["low"] for x in trace["r2"].values() if x["low"] is not None), default=-1)
        for suite, trace in (results.get("feedback") or {}).items()
    }
    return max(seen, key=seen.get) if seen else hydro_suite(results)


def rows_of(results: dict, suite: str | None = None) -> dict[str, dict]:
    """Return the rows of a suite (by default `hydro_suite`) by their cuts, including controls."""
    suite = suite or hydro_suite(results)
    rows = (*results["rows"], *results.get("control_rows", ()))
    return {row["cut"]: row for row in rows if row["suite"] == suite}


def case(what: str, entry: dict, lost: bool = False) -> tuple[str, dict]:
    """Return a case of the two cosmological parameters.

    Parameters
    ----------
    what : str
    entry : dict
        {parameter: estimate}
    lost : bool
        Change the sign, which turns a difference of R2 into a loss.

    Raises
    ------
    NotTestable
        An interval is missing.
    """
    found = {}
    for name in COSMOLOGY:
        estimate = entry.get(name)
        if estimate is None or None in estimate.values():
            raise NotTestable(f"the study has no interval for {name}")
        value, low, high = (estimate[key] for key in ("value", "low", "high"))
        found[name] = {"value": -value, "low": -high, "high": -low} if lost else estimate
    return what, found


def pairs_of(results: dict, kind: str) -> list[dict]:
    """Return the pairs of a cut and its control of one kind, see `controls.pairs`."""
    suite, pairs = hydro_suite(results), results.get("controls", ())
    return [pair for pair in pairs if (pair["kind"], pair["suite"]) == (kind, suite)]


def cross_cases(results: dict, scaling: str) -> list[tuple[str, dict]]:
    """Return the R2 that networks of `visible_suite` and of its twin lose on the other suite.

    Parameters
    ----------
    results : dict
    scaling : {"trained", "tested"}
        Suite whose scaling is applied to the tested maps.
    """
    suite = visible_suite(results)
    twin = f"Nbody_{regions_of(suite)}"
    if twin not in results["suites"]:
        raise NotTestable(f"the study has no gravity-only twin {twin}")
    return [
        case(f"{x['trained']} to {x['tested']}", x["difference"], lost=True)
        for x in results["cross"]
        if {x["trained"], x["tested"]} == {suite, twin}
        and (x["scaling"], x["cut"]) == (scaling, "none")
    ]
