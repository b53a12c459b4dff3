"""Test attribution on functions whose attributions are known."""

import numpy as np
import pytest
import torch
from torch import nn

from cosmolib.data.scaling import Scaling
from cosmolib.interpretation import attribution
from cosmolib.interpretation.attribution import attribute, make_baseline
from cosmolib.interpretation.sanity_checks import occlude, patches
from cosmolib.training.fit import seeded
from cosmolib.training.networks import build_network


class Linear(nn.Module):
    """mean_0 = sum w x, mean_1 = 2 sum w x, std = sum |x|^2: all gradients are known."""

    n_parameters = 2

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, x):
        first = (self.weights * x).sum((1, 2, 3))
        square = (x**2).sum((1, 2, 3))
        return torch.stack([first, 2 * first], 1), torch.stack([square, square], 1)


@pytest.fixture(scope="module")
def linear():
    return Linear(torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)))


@pytest.fixture(scope="module")
def x():
    return torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))


# ----------------------------------------------------------------------------------------- methods
@pytest.mark.parametrize("target", [0, 1])
def test_attributions_of_a_linear_function(linear, x, target):
    weights = (target + 1) * linear.weights.detach()
    saliency = attribute(linear, x, "saliency", target)
    assert (saliency.values.dtype, saliency.completeness) == (np.float32, None)
    np.testing.assert_allclose(saliency.values, weights[:, 0].expand(5, 8, 8))  # with sign

    baseline = torch.full_like(x[:1], 0.5)
    expected = (weights * (x - baseline))[:, 0]
    for method in ("integrated_gradients", "gradient_shap"):
        found = attribute(linear, x, method, target, baseline=baseline, n_steps=5)
        np.testing.assert_allclose(found.values, expected, rtol=1e-4, atol=1e-6)
        assert (found.completeness < 1e-4).all()


def test_attributions_of_the_std(linear, x):
    found = attribute(linear, x, "saliency", 0, output="std")
    np.testing.assert_allclose(found.values, 2 * x[:, 0], rtol=1e-6)
    options = {"output": "std", "baseline": torch.zeros_like(x[:1])}
    found = attribute(linear, x, "integrated_gradients", 0, **options)
    np.testing.assert_allclose(found.values, x[:, 0] ** 2, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def network():
    with seeded(1):
        return build_network("lite", 32, 1, 0.5, 2)


@pytest.fixture(scope="module")
def maps():
    return torch.randn(6, 1, 32, 32, generator=torch.Generator().manual_seed(2))


def test_completeness_is_that_of_captum(network, maps):
    from captum.attr import IntegratedGradients

    baseline = torch.zeros_like(maps[:1])
    _, delta = IntegratedGradients(lambda m: network.eval()(m)[0]).attribute(
        maps.clone().requires_grad_(), baselines=baseline, target=1, n_steps=8,
        method="riemann_middle", return_convergence_delta=True,
    )  # fmt: skip
    with torch.no_grad():
        way = network(maps)[0][:, 1] - network(baseline)[0][:, 1]
    found = attribute(network, maps, "integrated_gradients", 1, baseline=baseline, n_steps=8)
    np.testing.assert_allclose(found.completeness, (delta / way).abs(), rtol=0.05, atol=1e-4)


def test_steps_are_tripled_until_a_map_is_complete(network, maps):
    options = {"baseline": make_baseline("blurred", maps), "n_steps": 2}
    first = attribute(network, maps, "integrated_gradients", 0, **options)
    tolerance = float(np.sort(first.completeness)[2])  # which three maps fulfil
    found = attribute(network, maps, "integrated_gradients", 0, tolerance=tolerance, **options)
    good = first.completeness <= tolerance
    assert set(found.n_steps[good]) == {2} == set(first.n_steps)
    assert set(found.n_steps[~good]) <= {6, 18, 54}
    np.testing.assert_array_equal(found.values[good], first.values[good])
    assert (found.completeness <= tolerance)[found.n_steps < 54].all()
    # Tripled steps give the midpoint rule with the same number of steps.
    never = attribute(network, maps, "integrated_gradients", 0, tolerance=0.0, **options)
    assert set(never.n_steps) == {54}
    assert np.median(never.completeness) < min(0.02, np.median(first.completeness) / 3)
    whole = attribute(network, maps, "integrated_gradients", 0, **options | {"n_steps": 54})
    np.testing.assert_allclose(never.values, whole.values, rtol=1e-3, atol=1e-6)


def test_smoothgrad_is_the_mean_gradient_under_noise(linear, x):
    weights = linear.weights.detach()
    found = attribute(linear, x, "smooth_grad", 0, n_samples=7, stdevs=0.5)
    np.testing.assert_allclose(found.values, weights[:, 0].expand(5, 8, 8), rtol=1e-5)
    noisy = attribute(linear, x, "smooth_grad", 0, output="std", n_samples=2000, stdevs=0.5)
    plain = attribute(linear, x, "saliency", 0, output="std")  # 2 x, so that its noise is that of x
    scatter = (noisy.values - plain.values).std()
    assert scatter == pytest.approx(2 * 0.5 / 2000**0.5, rel=0.15)


def test_occlusion_of_a_linear_function(linear, x):
    regions = np.zeros((1, 8, 8), int)
    regions[0, 2:5, 3:], regions[0, 7] = 1, -1
    baseline = torch.full_like(x[:1], 0.5)
    lost = occlude(linear, x, regions, 1, baseline=baseline)
    change = (2 * linear.weights.detach() * (x - baseline))[:, 0].numpy()
    expected = [change[:, regions[0] == region].sum(1) for region in (0, 1)]
    np.testing.assert_allclose(lost, np.stack(expected, 1), rtol=1e-4, atol=1e-4)
    own = np.stack([regions[0], *np.zeros((4, 8, 8), int)])  # one per map
    lost = occlude(linear, x, own, 1, baseline=baseline)
    assert (lost[1:, 1] == 0).all()  # no pixel of this region
    with pytest.raises(ValueError, match=r"regions: found shape \(2, 8, 8\), expected 1 or 5"):
        occlude(linear, x, own[:2], 1, baseline=baseline)


def test_patches_tile_the_map():
    squares = patches(10, 4)  # the last ones are narrower
    assert np.bincount(squares[0].ravel()).tolist() == [16, 16, 8, 16, 16, 8, 8, 8, 4]


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients"])
def test_the_size_of_the_batches_does_not_matter(network, maps, method, monkeypatch):
    options = {"baseline": make_baseline("blurred", maps), "n_steps": 4}  # one per map
    whole = attribute(network, maps, method, 0, **options)
    monkeypatch.setattr(attribution, "CPU_PIXELS", 8 * 32**2)
    parts = attribute(network, maps, method, 0, **options)
    np.testing.assert_allclose(parts.values, whole.values, rtol=1e-4, atol=1e-6)


def test_the_network_and_the_random_states_do_not_change(network, maps):
    network.train()
    statistics = {name: value.clone() for name, value in network.named_buffers()}
    options = {"baseline": maps, "n_samples": 3, "stdevs": 0.1}
    first = attribute(network, maps, "gradient_shap", 0, seed=1, **options)
    np.random.random(3), torch.rand(3)  # noqa: NPY002  does not change the next result
    states = torch.get_rng_state(), np.random.get_state()[1:3]  # noqa: NPY002
    again = attribute(network, maps, "gradient_shap", 0, seed=1, **options)
    other = attribute(network, maps, "gradient_shap", 0, seed=2, **options)
    np.testing.assert_array_equal(first.values, again.values)  # no dropout either
    assert not np.allclose(first.values, other.values)
    assert network.training
    assert all(torch.equal(value, statistics[name]) for name, value in network.named_buffers())
    assert all(weight.grad is None for weight in network.parameters())
    assert not maps.requires_grad
    assert torch.equal(torch.get_rng_state(), states[0])
    for now, before in zip(np.random.get_state()[1:3], states[1], strict=True):  # noqa: NPY002
        np.testing.assert_array_equal(now, before)  # seed and position


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("gradcam", {}, "method: found 'gradcam', expected one of: saliency"),
        ("smooth_grad", {}, "smooth_grad: found stdevs=0.0, expected more than 0"),
        ("saliency", {"output": "median"}, "output: found 'median'"),
        ("saliency", {"target": 2}, "target: found 2, expected one of: 0, 1"),
        ("integrated_gradients", {}, "integrated_gradients: found no baseline"),
        ("integrated_gradients", {"baseline": torch.zeros(2, 1, 8, 8)}, r"found a baseline \(2, 1"),
        ("gradient_shap", {"baseline": torch.zeros(2, 1, 4, 4)}, r"found a baseline \(2, 1, 4, 4"),
    ],
)
def test_bad_arguments(linear, x, method, options, message):
    with pytest.raises(ValueError, match=message):
        attribute(linear, x, method, **{"target": 0, **options})


# --------------------------------------------------------------------------------------- baselines
def test_baselines():
    scaling = Scaling("log", mean=11.0, std=0.5)
    density = 10 ** torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 1e11
    x = torch.from_numpy(scaling.apply(density[:, 0].numpy()))[:, None]
    train = torch.arange(100.0).view(100, 1, 1, 1).expand(100, 1, 16, 16) - 20

    assert torch.equal(make_baseline("mean_log", x), torch.zeros(1, 1, 16, 16))
    uniform = make_baseline("uniform", x, scaling=scaling)
    assert uniform.shape == x.shape
    found = scaling.invert(uniform[:, 0, 3, 5].numpy())
    np.testing.assert_allclose(found, density.mean((1, 2, 3)), rtol=1e-4)
    assert make_baseline("void", x).unique().tolist() == [float(x.min())]
    assert make_baseline("void", x, train_x=train).unique().tolist() == [-20]
    blurred = make_baseline("blurred", x)
    torch.testing.assert_close(blurred.mean((2, 3)), x.mean((2, 3)))
    assert (blurred.std((2, 3)) < 0.4 * x.std((2, 3))).all()
    shifted = make_baseline("blurred", x.roll((3, 11), (2, 3)))
    torch.testing.assert_close(shifted, blurred.roll((3, 11), (2, 3)))  # periodic
    chosen = make_baseline("training", x, train_x=train)
    assert (chosen.shape, len(chosen.unique())) == ((32, 1, 16, 16), 32)
    noise = make_baseline("noise", x)
    assert float(noise.std(0).mean()) == pytest.approx(0.886, abs=0.1)  # of three draws
    expected = {"uniform": "no scaling", "training": "no train_x", "black": "'black'.* mean_log"}
    for name, message in expected.items():
        with pytest.raises(ValueError, match=f"baseline.*: found {message}"):
            make_baseline(name, x)
    # The blur is a Gaussian of an eighth of the side.
    point = torch.zeros(1, 1, 64, 64)
    point[0, 0, 32, 32] = 1
    row = make_baseline("blurred", point)[0, 0].sum(0).double()
    assert float((row * (torch.arange(64) - 32.0) ** 2).sum()) == pytest.approx(64, rel=0.01)
