"""Mocks: simulated maps for training, validation and test, and their analytic posterior."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from cosmolib.cuts.grammar import Cut
from cosmolib.data.arrays import bad_input
from cosmolib.data.cmd_format import BOX_SIZE
from cosmolib.data.tables import parameter_ranges
from cosmolib.validation import gaussian_fields as fields
from cosmolib.validation.injected_signals import PLACES, injected_maps

KINDS = ("gaussian", "lognormal", *PLACES)


@dataclass(frozen=True, eq=False)
class Mocks:
    """Simulated maps in three parts; every map has its own parameters."""

    maps: np.ndarray  # (n, N, N) float32: overdensity if Gaussian, else surface density
    params: np.ndarray  # (n, 2) Omega_m, sigma_8, uniform over the LH ranges
    n_train: int  # the first maps
    n_valid: int  # the next maps; the remaining ones are test maps
    kind: str = "gaussian"  # one of `KINDS`

    @property
    def parts(self) -> dict[str, slice]:
        """Slices of the maps for "train", "valid" and "test"."""
        edges = (0, self.n_train, self.n_train + self.n_valid, len(self.maps))
        return dict(zip(("train", "valid", "test"), map(slice, edges, edges[1:]), strict=True))

    @property
    def test(self) -> slice:
        """Slice of the test maps."""
        return self.parts["test"]

    @property
    def field(self) -> np.ndarray:
        """The Gaussian field: the maps themselves, or the log of lognormal maps."""
        return fields.underlying_gaussian(self.maps) if self.kind == "lognormal" else self.maps

    def test_only(self, n_maps: int | None = None) -> "Mocks":
        """Return only the test maps, or the first `n_maps` of them."""
        maps, params = self.maps[self.test][:n_maps], self.params[self.test][:n_maps]
        return replace(self, maps=maps, params=params, n_train=0, n_valid=0)

    @property
    def fingerprint(self) -> str:
        """Digest of shape, parts, all parameters and 64 maps, in 16 hexadecimal digits."""
        shape = f"{self.maps.shape} {self.n_train} {self.n_valid}".encode()
        some = self.maps[:: max(1, len(self.maps) // 64)]
        return hashlib.sha256(shape + self.params.tobytes() + some.tobytes()).hexdigest()[:16]


def draw_mocks(
    n_train: int, n_test: int = 500, grid: int = 64, seed: int = 0, kind: str = "gaussian"
) -> Mocks:
    """Draw mocks: `n_train` for training and a tenth of that (at least 20) for validation.

    Parameters
    ----------
    n_train, n_test : int
    grid : int
        Pixels along a side.
    seed : int
    kind : str
        "gaussian" or "lognormal" (see `gaussian_fields`), or a place of `injected_signals`.
    """
    if kind not in KINDS:
        raise bad_input("kind", repr(kind), f"one of {', '.join(KINDS)}")
    n_valid = max(n_train // 10, 20)
    n = n_train + n_valid + n_test
    low, high = parameter_ranges(fields.RANGES_OF)[: len(fields.TARGETS)].T
    params = np.random.default_rng(seed).uniform(low, high, (n, len(fields.TARGETS)))
    if kind in PLACES:
        maps = injected_maps(kind, params[:, 0], grid, seed)
    else:
        maps = getattr(fields, f"{kind}_maps")(params, grid, seed=seed)
    return Mocks(maps, params, n_train, n_valid, kind)


def has_posterior(mocks: Mocks, cut) -> bool:
    """Whether mocks under a cut have an analytic posterior, see `analytic_posterior`."""
    field, cut = {"gaussian": "linear", "lognormal": "log"}.get(mocks.kind), Cut.parse(cut)
    return field is not None and cut.is_spectral and cut.field in (None, field)


def analytic_posterior(mocks: Mocks, cut="none", box_size: float = BOX_SIZE) -> dict:
    """Compute the analytic posterior of the test maps under a cut.

    It exists for Fourier cuts of the field that is Gaussian: the overdensity of "gaussian" maps, or
    the log of "lognormal" maps.

    Returns
    -------
    dict
        ``mean``, ``std`` and ``bits``, see `gaussian_fields.exact_posterior`.

    Raises
    ------
    ValueError
        Such maps under such a cut have no analytic posterior.
    """
    if not has_posterior(mocks, cut):
        raise ValueError(
            f"{mocks.kind} maps, cut {str(Cut.parse(cut))!r}: there is no analytic posterior; "
            "expected 'none' or a Fourier cut, @linear for gaussian or @log for lognormal maps"
        )
    test = mocks.test_only()
    return fields.exact_posterior(test.field, test.params, *Cut.parse(cut).k_range, box_size)
