"""Parse the strings that name cuts, such as ``kmax:10`` or ``above:delta=3:mean``.

One string names a cut for papermill, profiles, folders and the workflow::

    none
    kmax:10   kmin:2   band:2,8                  Fourier cuts [h/Mpc], with @linear, @log, @delta
    above:1e12:clamp   below:1e11:random         density cuts [(Msun/h)/(Mpc/h)^2]
    above:delta=3:mean                           thresholds in the overdensity of each map
    mask:above:1e12                              control: shows the mask only
    maskmean:above:1e12                          control: shows the mask and the mean of the map
    moved:above:1e12:clamp                       control: the mask is shifted by half a box
    shuffle:above:1e12:clamp                     control: as many pixels, at random positions
    white=0.3:above:delta=0:clamp                adds white noise first (see `cosmolib.cuts.noise`)
    shot=10:none                                 shot noise: 10 tracers per pixel at the mean
    nomean:kmax:4                                divides each map by its mean first
    nologmean:none                               divides each map by its geometric mean
    name   name:K   name:K1,K2                   a cut from `cosmolib.cuts.apply.register_cut`
"""

import re
from dataclasses import dataclass

import numpy as np

from cosmolib.study.io import is_folder_name
from cosmolib.study.registry import CUTS

FOURIER_CUTS = ("kmax", "kmin", "band")
DENSITY_CUTS = ("above", "below")
FILLS = ("clamp", "random", "mean")
FIELDS = ("linear", "log", "delta")
MASKS = ("mask", "maskmean")  # controls that do not show the value of any pixel
CONTROLS = (*MASKS, "moved", "shuffle")
NOISE, MEANS = ("white", "shot"), ("nomean", "nologmean")
# Names that are not allowed for a registered cut
OWN_WORDS = ("none", *FOURIER_CUTS, *DENSITY_CUTS, *CONTROLS, *FILLS, *NOISE, *MEANS)

GRAMMAR = (
    "allowed: none; kmax:K, kmin:K or band:K1,K2 [h/Mpc], each with @linear (default), @log or "
    "@delta; above:T or below:T, T a surface density such as 1e12 [(Msun/h)/(Mpc/h)^2] or an "
    "overdensity such as delta=3, followed by :clamp (default), :random or :mean; "
    "mask: or maskmean: before above:T or below:T; shuffle: or moved: before them, with a fill; "
    "before any of them nomean: or nologmean:, then white=S: or shot=N: (noise)"
)
# Folder names contain only characters that every file system and shell accepts: letters, digits
# and ``. _ = -``.
_MARKS = {"_": "__", ":": "_", ",": "--", "@": "-"}
_TEXTS = {text: mark for mark, text in _MARKS.items()}
_TEXT = re.compile("__|_|--|-(?=[a-z])")  # a minus is followed by a digit
_REAL = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"  # no spaces, inf, nan or underscores
_CUT = re.compile(rf"""(?xa)  # spaces do not count
    (?: (nomean|nologmean) : )?  (?: (white|shot) = ({_REAL}) : )?  # steps before the cut
    (?: (mask|maskmean|moved|shuffle) : (?=above|below) )?
    ([a-z][a-z0-9_]*)
    (?: : ((?<=above:|below:)delta=)? ({_REAL}(?:,{_REAL})*) )?
    (?: @ (linear|log|delta) )?  (?: : (clamp|random|mean) )?
""")
_PART = re.compile(rf"(?:(?:white|shot)=|delta=)?{_REAL}(?:,{_REAL})*(?:@[a-z]+)?", re.ASCII)
_NUMBERS = {"none": 0, "kmax": 1, "kmin": 1, "band": 2, "above": 1, "below": 1}  # per cut


def _grammar():
    """Describe the allowed cuts, including registered ones."""
    own = [":".join(filter(None, (name, ",".join(CUTS[name].numbers)))) for name in CUTS]
    return "; ".join([GRAMMAR, *(["registered: " + ", ".join(own)] if own else [])])


class CutError(ValueError):
    """Report an invalid cut, with the reason and the allowed cuts."""


@dataclass(frozen=True)
class Cut:
    """Store one cut of the grammar; `Cut.parse` reads it, and ``str(cut)`` is its canonical name.

    Attributes
    ----------
    kind : str
        "none", one of `FOURIER_CUTS` or `DENSITY_CUTS`, or a registered name.
    values : tuple of float
        The edges of a Fourier cut [h/Mpc], the density threshold, or the numbers of a registered
        cut.
    overdensity : bool
        Whether the threshold is an overdensity relative to the mean of each map.
    fill : str or None
        Value of cut pixels: "clamp" (the threshold), "random" (log-uniform over the range of the
        data, as in the published training script) or "mean" (the mean of the map before the cut).
    field : str or None
        Field that a Fourier cut filters: "linear" (published), "log" or "delta".
    control : str or None
        One of `CONTROLS`.
    before : tuple of (str, float or None)
        Steps before the cut, from `NOISE` and `MEANS`, with their levels.
    """

    kind: str
    values: tuple[float, ...] = ()
    overdensity: bool = False
    fill: str | None = None
    field: str | None = None
    control: str | None = None
    before: tuple[tuple[str, float | None], ...] = ()

    @classmethod
    def parse(cls, text):
        """Read a cut from its string; raise `CutError` with the string if it is invalid."""
        if isinstance(text, cls):
            return text
        cut, fault = _read(text) if isinstance(text, str) else (None, "a cut is a string")
        if fault:
            raise CutError(f"cannot read cut {text!r}: {fault}; {_grammar()}")
        return cut

    def __str__(self):
        steps = [f"{name}={_number(x)}" if x is not None else name for name, x in self.before]
        numbers = "delta=" * self.overdensity + ",".join(map(_number, self.values))
        field = "" if self.field in (None, "linear") else f"@{self.field}"
        parts = [*steps, self.control, self.kind, numbers + field, self.fill]
        return ":".join(part for part in parts if part)

    @property
    def is_identity(self):
        """Whether the cut leaves maps unchanged."""
        return self.kind == "none" and not self.before

    @property
    def is_plain(self):
        """Whether the cut is not a control and has no steps before it."""
        return not (self.control or self.before)

    @property
    def noise(self):
        """Name and level of the noise that is added before the cut, or None."""
        return next((step for step in self.before if step[0] in NOISE), None)

    @property
    def is_fourier(self):
        """Whether the cut removes Fourier modes."""
        return self.kind in FOURIER_CUTS

    @property
    def is_density(self):
        """Whether the cut replaces pixels by their density."""
        return self.kind in DENSITY_CUTS

    @property
    def is_spectral(self):
        """Whether the cut does nothing except keep or remove whole modes."""
        return self.is_identity or (self.is_fourier and not self.before)

    @property
    def threshold(self):
        """Density threshold (surface density or overdensity); None for other cuts."""
        return self.values[0] if self.is_density else None

    @property
    def k_range(self):
        """Edges (kmin, kmax) [h/Mpc] of the modes kept, kmin <= k < kmax; (0, inf) by default."""
        values = self.values
        ranges = {"kmax": (0.0, *values), "kmin": (*values, np.inf), "band": values}
        return ranges.get(self.kind) or (0.0, np.inf)


def folder_name(cut):
    """Encode a cut as a folder name; `cut_of` decodes it.

    Parameters
    ----------
    cut : str or Cut

    Returns
    -------
    str
        Lower-case letters, digits and ``. _ = -``, at most 200 characters, such as
        ``above_delta=3_clamp``. Different cuts have different names.

    Raises
    ------
    CutError
        The text is not a valid cut, or the name is too long.

    Examples
    --------
    >>> folder_name("kmax:4@log"), folder_name("band:2,8"), folder_name("above:delta=-0.5")
    ('kmax_4-log', 'band_2--8', 'above_delta=-0.5_clamp')
    """
    text = str(Cut.parse(cut))
    name = "".join(_MARKS.get(mark, mark) for mark in text)
    name += "" if is_folder_name(name) else "-"  # a registered cut may be called "aux"
    if not is_folder_name(name):
        raise CutError(f"cut {text!r}: its folder name would have {len(name)} characters")
    return name


def cut_of(folder):
    """Return the canonical string of the cut that a folder name encodes.

    Raises
    ------
    CutError
        No cut has this folder name.
    """
    text = _TEXT.sub(lambda found: _TEXTS[found[0]], folder.removesuffix("-"))
    if folder_name(text) != folder:
        raise CutError(f"{folder!r} is not the folder name of a cut; {text!r} has another one")
    return text


def _read(text):
    """Return the `Cut` that a text describes and the reason why it is invalid, or None."""
    if not (found := _CUT.fullmatch(text)):
        known = (*OWN_WORDS, *CUTS)
        strange = [x for x in text.split(":") if x not in known and not _PART.fullmatch(x)]
        return None, f"unknown part {strange[0]!r}" if strange else "its parts have another order"
    mean, noise, level, control, kind, delta, numbers, field, fill = found.groups()
    values = tuple(float(x) + 0.0 for x in numbers.split(",")) if numbers else ()  # no -0.0
    level = float(level) if noise else None
    fourier, density = kind in FOURIER_CUTS, kind in DENSITY_CUTS
    fill = fill or ("clamp" if density and control not in MASKS else None)
    field = field or ("linear" if fourier else None)
    before = tuple(step for step in ((mean, None), (noise, level)) if step[0])
    cut = Cut(kind, values, bool(delta), fill, field, control, before)
    expected = len(CUTS[kind].numbers) if kind in CUTS else _NUMBERS.get(kind)
    edges = cut.k_range
    least, above = (-1, "above delta=-1") if delta else (0, "positive")
    unknown = f"unknown cut {kind!r} (those of a plugin are known after load_profile)"
    rules = (
        (expected is not None, unknown),
        (len(values) == expected, f"{kind!r} takes {expected} number(s), found {len(values)}"),
        (all(map(np.isfinite, (*values, level or 0))), "numbers must be finite"),
        (fourier or not field, "only a Fourier cut has a field"),
        (density or not fill, "only a density cut has a fill"),
        (not fill or control not in MASKS, "a mask has no fill"),
        (0 <= edges[0] < edges[-1], f"a Fourier cut needs 0 <= kmin < kmax, found {edges}"),
        (not density or values > (least,), f"a threshold is {above}"),
        (noise != "white" or level >= 0, "the level of white noise is 0 or more"),
        (noise != "shot" or level > 0, "the tracers per pixel of shot noise are positive"),
    )
    return cut, next((reason for valid, reason in rules if not valid), None)


def _number(value):
    """Return the shortest text that reads back as the same number: 10, 7.5, 1e12, 2.5e11."""
    if value == 0 or 1e-4 <= abs(value) < 1e5:
        return np.format_float_positional(value, trim="-")
    return np.format_float_scientific(value, trim="-", exp_digits=1).replace("e+", "e")
