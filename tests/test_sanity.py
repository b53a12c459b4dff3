"""Test the sanity checks of attribution on functions with known outcomes."""

import numpy as np
import pytest
import torch
from test_attribution import Linear
from torch import nn

from cosmolib.interpretation import sanity_checks
from cosmolib.interpretation.attribution import attribute, make_baseline
from cosmolib.training.fit import seeded
from cosmolib.training.networks import build_network

GRID = 16


@pytest.fixture(scope="module")
def x():
    return torch.randn(6, 1, GRID, GRID, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def linear():
    return Linear(torch.randn(1, 1, GRID, GRID, generator=torch.Generator().manual_seed(0)))


class Isotropic(nn.Module):
    """Sum of squares of a periodic, symmetric smoothing, which is equivariant."""

    n_parameters = 1

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular", bias=False)
        self.conv.weight.data = torch.tensor([[[[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]]])

    def forward(self, x):
        out = self.conv(x).square().sum((1, 2, 3))[:, None]
        return out, out


# ---------------------------------------------------------------------------------------- likeness
def test_rank_correlation_uses_absolute_values_of_each_map():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((3, 8, 8))
    np.testing.assert_allclose(sanity_checks.rank_correlation(a, -(a**3)), 1)
    np.testing.assert_allclose(sanity_checks.correlation(a, -2 * a), -1)
    b = np.concatenate([a[:1], rng.standard_normal((2, 8, 8))])
    found = sanity_checks.rank_correlation(a, b)
    assert found[0] == pytest.approx(1)
    assert (np.abs(found[1:]) < 0.4).all()
    assert np.isnan(sanity_checks.correlation(a, np.ones_like(a))).all()
    with pytest.raises(ValueError, match=r"found shapes \(3, 64\) and \(2, 64\)"):
        sanity_checks.correlation(a, a[:2])


# ----------------------------------------------------------------------------------- randomisation
@pytest.mark.parametrize("name", ["lite", "k4s2", "o3"])
def test_cascading_randomisation_goes_from_the_output_to_the_input(name):
    with seeded(1):
        trained, fresh = (build_network(name, GRID, 2, 0.1, 2) for _ in "ab")
    before = {key: value.clone() for key, value in trained.state_dict().items()}
    initial = fresh.state_dict()
    steps = list(sanity_checks.cascade(trained, fresh))
    stages = list(trained.stages)
    assert [stage for stage, _ in steps] == stages[::-1]
    assert [stages[0], *stages[-2:]] == ["block 0", "FC1", "FC2"]
    changed = [
        {key for key, value in network.state_dict().items() if torch.equal(value, initial[key])}
        for _, network in steps
    ]
    assert all(a < b for a, b in zip(changed[:-1], changed[1:], strict=True))
    assert {"FC2.weight", "FC2.bias"} <= changed[0]
    assert not torch.equal(steps[0][1].FC1.weight, fresh.FC1.weight)
    assert changed[-1] == set(before)
    assert all(torch.equal(value, before[key]) for key, value in trained.state_dict().items())


# ------------------------------------------------------------------------------------ equivariance
def test_attributions_move_with_the_map_if_the_network_is_equivariant(x, linear):
    options = {"baseline": make_baseline("blurred", x), "n_steps": 4}
    for method in ("saliency", "integrated_gradients"):
        found = sanity_checks.moved_attributions(Isotropic(), x, method, 0, **options)
        assert len(found) == 8 + 3  # symmetries and shifts
        for values in found.values():
            np.testing.assert_allclose(values, found["turned 0°"], rtol=1e-3, atol=1e-3)
    # The weights of a linear function do not move.
    found = sanity_checks.moved_attributions(linear, x, "saliency", 0)
    first = found.pop("turned 0°")
    assert all(sanity_checks.correlation(values, first).max() < 0.5 for values in found.values())


# ---------------------------------------------------------------------------------- replacement
def test_curves_of_a_linear_function(linear, x):
    gains, fractions = (linear.weights.detach() * x)[:, 0].numpy(), np.array([0, 0.25, 0.5, 1])

    def curve(order, **options):
        options |= {"baseline": torch.zeros_like(x[:1]), "fractions": fractions}
        return sanity_checks.replacement_curve(linear, x, order, 0, **options)

    ordered = np.sort(gains.reshape(6, -1), 1)[:, ::-1]
    parts = [np.split(ordered, [int(f * GRID**2)], axis=1) for f in fractions]
    first, rest = (np.abs([part[side].sum(1) for part in parts]).T for side in (0, 1))
    np.testing.assert_allclose(curve(gains), first, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(curve(gains, insertion=True), rest, rtol=1e-3, atol=1e-3)
    random = curve(np.random.default_rng(0).random(gains.shape))
    assert first.mean() > 2 * random.mean()  # attribution orders the pixels by their effect
    with pytest.raises(ValueError, match="order: found shape .6, 8, 8., expected"):
        curve(gains[:, :8, :8])


# ------------------------------------------------------------------- infidelity and sensitivity
@pytest.mark.parametrize("method", ["saliency", "integrated_gradients"])
def test_infidelity_is_zero_for_a_linear_function_and_one_for_no_attribution(linear, x, method):
    zero = torch.zeros_like(x[:1])

    def infidelity(values):
        return sanity_checks.infidelity(linear, x, values, method, 1, baseline=zero, patch=4)

    values = attribute(linear, x, method, 1, baseline=zero, n_steps=2).values
    assert (infidelity(values) < 1e-5).all()
    np.testing.assert_allclose(infidelity(np.zeros_like(values)), 1)
    wrong, again = (infidelity(np.roll(values, 3, 1)) for _ in "ab")
    assert np.median(wrong) > 0.5
    np.testing.assert_array_equal(wrong, again)


def test_sensitivity_is_that_of_the_gradient(linear, x):
    assert (sanity_checks.sensitivity(linear, x, "saliency", 0) < 1e-5).all()  # a constant gradient
    options = {"output": "std", "radius": 0.1}  # gradient 2 x: its noise is that of x
    found = sanity_checks.sensitivity(linear, x, "saliency", 0, **options)
    expected = 0.1 / 3**0.5 * GRID / x.flatten(1).norm(dim=1).numpy()
    np.testing.assert_allclose(found, expected, rtol=0.25)
    options = {"baseline": torch.zeros_like(x[:1]), "n_steps": 2}
    path = sanity_checks.sensitivity(linear, x, "integrated_gradients", 0, **options)
    assert 0 < path.min() < path.max() < 0.1
    # GradientSHAP is a mean over draws; more of them repeat better.
    few, many = (
        sanity_checks.sensitivity(linear, x, "gradient_shap", 0, baseline=x, n_samples=n).mean()
        for n in (1, 64)
    )
    assert many < few / 3
