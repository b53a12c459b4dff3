"""Known answers and calibration: right error bars pass, wrong ones are seen."""

import dataclasses

import numpy as np
import pytest

from cosmolib import runs, validation
from cosmolib.evaluation import chi2, r2

NAMES = np.array(["Omega_m", "sigma_8"])


def gaussian_predictions(scale, n=4000):
    """Posteriors whose stated width is `scale` times the true one; each map a simulation."""
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 1, (n, 2))
    return {
        "mean": truth + 0.1 * rng.standard_normal((n, 2)),
        "std": np.full((n, 2), 0.1 * scale),
        "truth": truth,
        "simulation": np.arange(n),
        "parameters": NAMES,
    }


def test_coverage_of_right_error_bars_is_nominal():
    levels = np.array([0.1, 0.5, 0.6827, 0.95])
    found = validation.coverage(gaussian_predictions(1.0), levels, n_bootstrap=200)
    for table in found.values():
        np.testing.assert_allclose(table[:, 0], levels, atol=0.025)
        assert (table[:, 1] <= table[:, 0]).all()
        assert (table[:, 0] <= table[:, 2]).all()
        assert (np.diff(table[:, 0]) > 0).all()


@pytest.mark.parametrize(("scale", "sign"), [(0.7, -1), (1.4, 1)])
def test_coverage_sees_wrong_error_bars(scale, sign):
    found = validation.coverage(gaussian_predictions(scale), [0.6827], n_bootstrap=200)
    for table in found.values():
        assert sign * (table[0, 0] - 0.6827) > 0.1
        assert not table[0, 1] < 0.6827 < table[0, 2]


def test_known_answer_maps_are_in_one_part_each():
    known = validation.known_answer(60, n_test=30, grid=16)
    assert known.maps.shape == (60 + 20 + 30, 16, 16)
    data = validation.known_answer_data(known, "kmax:1")
    parts = [set(x) for x in (data.train_simulation, data.valid_simulation, data.test_simulation)]
    assert [len(part) for part in parts] == [60, 20, 30]
    assert len(set.union(*parts)) == 110
    assert abs(float(data.train_x.mean())) < 1e-5
    assert float(data.train_x.std()) == pytest.approx(1, abs=0.01)
    np.testing.assert_array_equal(data.test_truth, known.params[known.test])
    assert data.train_theta.min() >= 0
    assert data.train_theta.max() <= 1


@pytest.mark.parametrize("cut", ["above:delta=0", "kmax:4@log", "kmin:2"])
def test_cuts_without_a_known_answer_are_refused(cut):
    known = validation.known_answer(20, n_test=10, grid=16)
    profile = runs.load_profile("tiny")
    with pytest.raises(ValueError, match="expected 'none'"):
        validation.known_answer_test(known, profile, cut)


def test_the_exact_answer_is_right_and_no_network_beats_it():
    known = validation.known_answer(60, n_test=300, grid=16)
    profile = dataclasses.replace(runs.load_profile("tiny"), known_answer_epochs=1)
    learnt, exact = validation.known_answer_test(known, profile, "none")
    scores = {}
    for name, item in (("learnt", learnt), ("exact", exact)):
        scores[name] = r2(item["mean"], None, item["truth"])
    assert (scores["exact"] > 0.1).all()
    assert (scores["learnt"] < scores["exact"] + 0.02).all()
    found = chi2(*(exact[key] for key in ("mean", "std", "truth")))
    np.testing.assert_allclose(found, 1, atol=0.2)
