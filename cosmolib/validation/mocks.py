"""Maps with a known answer, in three parts, and that answer: the exact posterior under a cut."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from cosmolib.cuts.grammar import Cut
from cosmolib.data.cmd_format import BOX_SIZE
from cosmolib.data.tables import parameter_ranges
from cosmolib.validation.gaussian_fields import (
    TARGETS,
    Posterior,
    exact_posterior,
    gaussian_maps,
    lognormal_maps,
    underlying_gaussian,
)
from cosmolib.validation.injected_signals import PLACES, planted_maps

RANGES_OF = "Lite"  # the prior of these maps is that of Lite and of IllustrisTNG's LH set
KINDS = ("gaussian", "lognormal", *PLACES)


@dataclass(frozen=True, eq=False)
class KnownAnswer:
    """Maps with a known answer, in three parts; every map is a universe of its own."""

    maps: np.ndarray  # (n, N, N) float32: overdensity if gaussian, else surface density
    params: np.ndarray  # (n, 2) Omega_m, sigma_8, uniform over the LH ranges
    n_train: int  # the first maps
    n_valid: int  # the next; the rest are test maps
    kind: str = "gaussian"  # one of `KINDS`
    seed: int = 0

    @property
    def parts(self) -> dict[str, slice]:
        """Which maps are in the parts "train", "valid" and "test"."""
        edges = (0, self.n_train, self.n_train + self.n_valid, len(self.maps))
        return dict(zip(("train", "valid", "test"), map(slice, edges, edges[1:]), strict=True))

    @property
    def test(self) -> slice:
        """Test maps."""
        return self.parts["test"]

    @property
    def field(self) -> np.ndarray:
        """The Gaussian field of the maps: themselves, or the log of lognormal ones."""
        return underlying_gaussian(self.maps) if self.kind == "lognormal" else self.maps

    def test_only(self, n_maps: int | None = None) -> KnownAnswer:
        """Return the test maps, or the first `n_maps` of them, without the other parts."""
        maps, params = self.maps[self.test][:n_maps], self.params[self.test][:n_maps]
        return replace(self, maps=maps, params=params, n_train=0, n_valid=0)

    @property
    def fingerprint(self) -> str:
        """Identify the maps in 16 hexadecimal digits: shape, parts, all parameters, 64 maps."""
        digest = hashlib.sha256(f"{self.maps.shape} {self.n_train} {self.n_valid}".encode())
        some = self.maps[:: max(1, len(self.maps) // 64)]
        for array in (self.params, some):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]


def known_answer(
    n_train: int, n_test: int = 500, grid: int = 64, seed: int = 0, kind: str = "gaussian"
) -> KnownAnswer:
    """Draw maps: `n_train` to train on, a tenth of that (20 at least) to validate.

    Parameters
    ----------
    n_train, n_test : int
    grid : int
        Pixels a side.
    seed : int
    kind : str
        "gaussian" or "lognormal" (see `gaussian_fields`), or a place of `injected_signals`.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: found {kind!r}, expected one of {', '.join(KINDS)}")
    n_valid = max(n_train // 10, 20)
    n = n_train + n_valid + n_test
    low, high = parameter_ranges(RANGES_OF)[: len(TARGETS)].T
    params = np.random.default_rng(seed).uniform(low, high, (n, len(TARGETS)))
    if kind in PLACES:
        maps = planted_maps(kind, params[:, 0], grid, seed=seed)
    else:
        draw = gaussian_maps if kind == "gaussian" else lognormal_maps
        maps = draw(params, grid, seed=seed)
    return KnownAnswer(maps, params, n_train, n_valid, kind, seed)


def is_answerable(known, cut):
    """Whether the exact posterior of such maps under such a cut is known."""
    field = {"gaussian": "linear", "lognormal": "log"}.get(known.kind)
    return field is not None and cut.is_spectral and cut.field in (None, field)


def exact_answer(known: KnownAnswer, cut="none", box_size: float = BOX_SIZE) -> Posterior:
    """Exact posterior of the test maps under a cut.

    It is known for Fourier cuts of the field that is Gaussian: the overdensity of "gaussian" maps,
    the log of "lognormal" ones.

    Raises
    ------
    ValueError
        The answer is not known for such maps under such a cut.
    """
    cut = Cut.parse(cut)
    if not is_answerable(known, cut):
        raise ValueError(
            f"{known.kind} maps, cut {str(cut)!r}: the exact posterior is not known, expected "
            "'none' or a Fourier cut, @linear of gaussian or @log of lognormal maps"
        )
    low, high = cut.k_range
    test = known.test_only()
    return exact_posterior(test.field, box_size, high, suite=RANGES_OF, kmin=low, truth=test.params)
