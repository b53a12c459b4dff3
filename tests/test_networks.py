"""Networks: weights in files, shapes, symmetries, bad input.

The layers of `lite` must give the stored predictions of the reference study (test_reference.py),
those of `o3` the outputs of the published code (test_published.py).
"""

import pytest
import torch

from cosmolib.study.profile import ARCHITECTURES
from cosmolib.training.networks import build_network, fused
from cosmolib.training.weights import load_weights, published_network


@pytest.mark.parametrize("name", ["o3", "lite"])
@pytest.mark.parametrize(
    ("prefix", "section"),
    [("_orig_mod.", None), ("_orig_mod.module.", None), ("module.", "model"),
     ("", "model_state_dict")],
)  # fmt: skip
def test_weights_of_a_wrapped_network_load(tmp_path, name, prefix, section):
    trained = build_network(name, size=32, hidden=2)
    path = tmp_path / "weights.pt"
    state = {prefix + key: value for key, value in trained.state_dict().items()}
    torch.save({section: state, "optimizer_state_dict": {"state": {}}} if section else state, path)
    network = build_network(name, size=32, hidden=2)
    load_weights(network, path)
    for key, value in trained.state_dict().items():
        assert torch.equal(network.state_dict()[key], value), key
    if name == "o3":
        found = published_network(path).state_dict()
        assert torch.equal(found["FC2.weight"], trained.FC2.weight)


def test_two_networks_in_one_file_are_refused(tmp_path):
    state = build_network("lite", size=32, hidden=2).state_dict()
    torch.save(state | {f"module.{key}": value for key, value in state.items()}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"module.FC1.bias: found float .*, expected no such"):
        load_weights(build_network("lite", size=32, hidden=2), tmp_path / "w.pt")


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("size", [16, 64])
def test_outputs(name, size):
    torch.manual_seed(1)
    network = build_network(name, size=size, hidden=2, n_parameters=3)
    mean, std = network(torch.randn(4, 1, size, size))
    assert mean.shape == std.shape == (4, 3)
    assert (std >= 0).all()
    assert (mean < 0).any()  # only the second half of the output is squared
    (mean.sum() + std.sum()).backward()
    unused = {n for n, weight in network.named_parameters() if weight.grad is None}
    assert unused == ({"B01.weight", "B01.bias"} if name == "o3" else set())


@pytest.mark.parametrize("name", ["lite", "k4s2"])
def test_a_pooled_network_is_invariant_under_shifts(name):
    """Shifts by multiples of the total stride, across the periodic edge, do not change outputs."""
    torch.manual_seed(0)
    network = build_network(name, size=64, hidden=2).eval()
    x = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        mean, _ = network(x)
        shifted, _ = network(x.roll((16, -32), (2, 3)))
        other, _ = network(x.roll(1, 2))
    torch.testing.assert_close(shifted, mean)
    assert not torch.allclose(other, mean)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet"}, "architecture: found 'resnet', expected one of: o3, k4s2, lite"),
        ({"size": 100}, "size: found 100, expected a power of two"),
        ({"size": 8}, "size: found 8"), ({"hidden": 0}, "hidden: found 0"),
        ({"n_parameters": 0}, "n_parameters: found 0"), ({"dropout": 1.0}, "dropout: found 1.0"),
    ],
)  # fmt: skip
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_network(**{"name": "lite", "size": 64, "hidden": 2, **arguments})
    with pytest.raises(ValueError, match=r"found shape \(2, 1, 32, 32\), expected \(B, 1, 64, 64"):
        build_network("lite", size=64, hidden=1)(torch.zeros(2, 1, 32, 32))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_fusing_batch_norm_does_not_change_the_outputs(name):
    torch.manual_seed(0)
    network = build_network(name, size=32, hidden=2, dropout=0.3, n_parameters=3)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as after training
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    fast = fused(network.train())
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    used = [m for m in fast.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(used) == (1 if name == "o3" else 0)  # B01 is never used
    assert not any(weight.requires_grad for weight in fast.parameters())
    x = torch.randn(4, 1, 32, 32)
    with torch.no_grad():
        for a, b in zip(fast(x), network.eval()(x), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
