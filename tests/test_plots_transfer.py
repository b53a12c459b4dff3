"""Figures of chapter 06 on other suites and sets: they show what they were given, labelled."""

import numpy as np
import pytest
from test_plots_results import PARAMETERS, SUITES, draw, estimate

from cosmolib.plots import generalisation as plots_generalisation

pytestmark = pytest.mark.usefixtures("canvas")


def each(value):
    return {name: estimate(value) for name in PARAMETERS}


@pytest.mark.parametrize("older", [False, True])
def test_transfer_matrix_names_both_suites(older):
    cross = [
        {"trained": a, "tested": b, "scaling": s, "r2": each(0.5), "bias_sigma": each(0.2)}
        for a in SUITES
        for b in SUITES
        for s in (("trained",) if a == b else ("trained", "tested"))
    ]
    if older:  # a stored table from before the bias
        cross = [
            {k: v for k, v in x.items() if k in ("trained", "tested", "r2")}
            for x in cross
            if x["scaling"] == "trained"
        ]
    fig, axes = draw(plots_generalisation.transfer_matrix(cross, PARAMETERS))
    labels = [text.get_text() for text in axes[0, 0].get_yticklabels()]
    assert labels[1] == "Lite → Nbody_Lite"
    assert len(labels) == 4
    assert len(fig.legends[0].get_texts()) == (2 if older else 3)
    cross[0]["r2"] = each(-6000)
    _, axes = draw(plots_generalisation.transfer_matrix(cross, PARAMETERS))
    assert axes[0, 0].get_xlim() == (-1.05, 1.05)  # one bad case leaves the others readable


def test_cosmic_variance_shows_every_box():
    mean = np.random.default_rng(0).normal(0.3, 0.02, (7, 2)).tolist()
    tables = [
        {"suite": s, "targets": PARAMETERS, "truth": [0.3, 0.8], "mean": mean, "sigma": each(0.05)}
        for s in SUITES
    ]
    _, axes = draw(plots_generalisation.cosmic_variance(tables, PARAMETERS))
    assert len(axes) == 2
    np.testing.assert_allclose(axes[0].lines[0].get_xydata(), mean)


def test_response_has_a_column_for_each_varied_parameter():
    curves = [
        {"suite": s, "varied": v, "targets": PARAMETERS, "values": [0.1, 0.3, 0.5],
         "mean": [[0.1, 0.8]] * 3, "error": [[0.01, 0.02]] * 3}
        for s in SUITES
        for v in ("Omega_m", "A_SN1")
    ]  # fmt: skip
    _, axes = draw(plots_generalisation.response(curves, PARAMETERS))
    assert axes.shape == (2, 2)
    assert [ax.get_xscale() for ax in axes[1]] == ["linear", "log"]
    assert "SN1" in axes[1, 1].get_xlabel()
    for (
        ax
    ) in axes.flat:  # twins that answer alike do not hide each other, and stay near their value
        one, other = (c.lines[0].get_xdata() for c in ax.containers)
        assert (one < [0.1, 0.3, 0.5]).all()
        assert (other > [0.1, 0.3, 0.5]).all()
        np.testing.assert_allclose(one, other, rtol=0.2)
    assert [text.get_text() for text in axes[1, 0].get_xticklabels()] == ["0.1", "0.3", "0.5"]


def test_extremes_are_named():
    rows = [
        {"suite": s, "what": what, "pull": each(0.3)}
        for s in SUITES
        for what in ("fiducial", "A_SN1 = 100")
    ]
    _, axes = draw(plots_generalisation.extremes(rows, PARAMETERS))
    labels = [text.get_text() for text in axes[0].get_yticklabels()]
    assert labels[0] == "fiducial"
    assert labels[1].endswith("= 100")
    assert "SN1" in labels[1]
