"""The grammar of cuts: the meaning of strings such as ``kmax:10`` or ``above:delta=3:mean``.

One string names a cut for papermill, profiles, folders and the workflow::

    none
    kmax:10   kmin:2   band:2,8                  Fourier cuts [h/Mpc], with @linear, @log, @delta
    above:1e12:clamp   below:1e11:random         density cuts [(Msun/h)/(Mpc/h)^2]
    above:delta=3:mean                           the same in overdensity of each map
    mask:above:1e12                              control: only the mask is shown
    maskmean:above:1e12                          control: the mask and the mean of the map
    moved:above:1e12:clamp                       control: the same mask, moved by half a box
    shuffle:above:1e12:clamp                     control: as many pixels, cut at random places
    white=0.3:above:delta=0:clamp                white noise first (see `cosmolib.cuts.noise`)
    shot=10:none                                 shot noise: 10 tracers per pixel in the mean
    nomean:kmax:4                                each map divided by its own mean first
    nologmean:none                               the same with its geometric mean
    name   name:K   name:K1,K2                   your own (`cosmolib.cuts.apply.register_cut`)
"""

import math
import re
from dataclasses import dataclass

import numpy as np

from cosmolib.study.io import is_folder_name
from cosmolib.study.registry import CUTS

FOURIER_CUTS = ("kmax", "kmin", "band")
DENSITY_CUTS = ("above", "below")
FILLS = ("clamp", "random", "mean")
FIELDS = ("linear", "log", "delta")
MASKS = ("mask", "maskmean")  # controls that show no pixel's value
CONTROLS = (*MASKS, "moved", "shuffle")
NOISE, MEANS = ("white", "shot"), ("nomean", "nologmean")
STEPS = (*NOISE, *MEANS)
# Names that a registered cut cannot have
OWN_WORDS = ("none", *FOURIER_CUTS, *DENSITY_CUTS, *CONTROLS, *FILLS, *STEPS)

GRAMMAR = (
    "allowed: none; kmax:K, kmin:K or band:K1,K2 [h/Mpc], each with @linear (default), @log or "
    "@delta; above:T or below:T, T a surface density such as 1e12 [(Msun/h)/(Mpc/h)^2] or an "
    "overdensity such as delta=3, followed by :clamp (default), :random or :mean; "
    "mask: or maskmean: before above:T or below:T; shuffle: or moved: before them, with a fill; "
    "before any of them white=S: or shot=N: (noise), then nomean: or nologmean:"
)
# A folder's name has letters, digits and ``. _ = -``: what every file system and shell tool takes.
_MARKS = {"_": "__", ":": "_", ",": "--", "@": "-"}
_TEXTS = {text: mark for mark, text in _MARKS.items()}
_TEXT = re.compile("__|_|--|-(?=[a-z])")  # a minus is followed by a digit
_REAL = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"  # no spaces, inf, nan or underscores
_CUT = re.compile(
    rf"""
    (?: (white|shot) = ({_REAL}) : )?  (?: (nomean|nologmean) : )?  # steps before the cut
    (?: (mask|maskmean|moved|shuffle) : (?=above|below) )?
    ([a-z][a-z0-9_]*)
    (?: : ((?<=above:|below:)delta=)? ({_REAL}(?:,{_REAL})*) )?
    (?: @ (linear|log|delta) )?  (?: : (clamp|random|mean) )?
    """,
    re.VERBOSE | re.ASCII,
)
_NUMBERS = {"none": 0, "kmax": 1, "kmin": 1, "band": 2, "above": 1, "below": 1}  # after the colon


def _grammar():
    """Return the allowed cuts, with those that a user registered."""
    own = [":".join(filter(None, (name, ",".join(CUTS[name].numbers)))) for name in CUTS]
    return "; ".join([GRAMMAR, *(["registered: " + ", ".join(own)] if own else [])])


class CutError(ValueError):
    """An invalid cut; the message gives the reason and what is allowed."""


@dataclass(frozen=True)
class Cut:
    """One cut of the grammar above. Make it with `Cut.parse`; ``str(cut)`` is its canonical name.

    Attributes
    ----------
    kind : str
        "none", one of `FOURIER_CUTS`, one of `DENSITY_CUTS`, or a name of `register_cut`.
    values : tuple of float
        Nothing, one edge or the two edges of a band [h/Mpc], one density threshold, or what the
        function of a registered cut takes.
    overdensity : bool
        The threshold is an overdensity relative to each map's own mean, not a surface density.
    fill : str or None
        What a cut pixel becomes: "clamp" (the threshold), "random" (log-uniform over the data's
        range, as in the published training script), "mean" (the mean of its map before the cut).
    field : str or None
        The field that a Fourier cut filters: "linear" (published), "log" or "delta".
    control : str or None
        One of `CONTROLS`.
    before : tuple of (str, float or None)
        Steps before the cut, one of `STEPS` each, with their levels.
    """

    kind: str
    values: tuple[float, ...] = ()
    overdensity: bool = False
    fill: str | None = None
    field: str | None = None
    control: str | None = None
    before: tuple[tuple[str, float | None], ...] = ()

    def __post_init__(self):
        if vars(self) != _fields(str(self)):
            raise CutError(f"found {vars(self)}, expected the fields of {str(self)!r}")

    @classmethod
    def parse(cls, text):
        """Read a cut from its string; raise `CutError`, quoting it, where it cannot be read."""
        if isinstance(text, cls):
            return text
        if not isinstance(text, str):
            raise CutError(f"a cut is a string, found {text!r}; {_grammar()}")
        try:
            return cls(**_fields(text))
        except CutError as error:
            raise CutError(f"cannot read cut {text!r}: {error}; {_grammar()}") from None

    def __str__(self):
        steps = [
            name if level is None else f"{name}={_format_number(level)}"
            for name, level in self.before
        ]
        numbers = ("delta=" if self.overdensity else "") + ",".join(
            map(_format_number, self.values)
        )
        field = "" if self.field in (None, "linear") else f"@{self.field}"
        parts = [*steps, self.control, self.kind, numbers + field, self.fill]
        return ":".join(part for part in parts if part)

    @property
    def is_identity(self):
        """Whether maps stay as they are."""
        return self.kind == "none" and not self.before

    @property
    def is_plain(self):
        """Whether the cut is neither a control nor comes after a step."""
        return not (self.control or self.before)

    @property
    def noise(self):
        """(name, level) of the noise that is added before the cut, None without."""
        return next((step for step in self.before if step[0] in NOISE), None)

    @property
    def is_fourier(self):
        """Whether the cut works on Fourier modes."""
        return self.kind in FOURIER_CUTS

    @property
    def is_density(self):
        """Whether the cut works on pixels, by their density."""
        return self.kind in DENSITY_CUTS

    @property
    def is_spectral(self):
        """Whether the cut keeps or removes whole modes, and does nothing else."""
        return self.is_identity or (self.is_fourier and not self.before)

    @property
    def threshold(self):
        """The density threshold (surface density or overdensity), None for other cuts."""
        return self.values[0] if self.is_density else None

    @property
    def k_range(self):
        """(kmin, kmax) [h/Mpc] of the modes kept, kmin <= k < kmax; (0, inf) of other cuts."""
        return _k_range(self.kind, self.values)


def folder_name(cut):
    """Encode a cut as the name of a folder; `cut_of` is the inverse.

    Parameters
    ----------
    cut : str or Cut

    Returns
    -------
    str
        Lower-case letters, digits and ``. _ = -``, at most 200 characters, such as
        ``above_delta=3_clamp``; another name for every other cut.

    Raises
    ------
    CutError
        The text is no cut, or too long.

    Examples
    --------
    >>> folder_name("kmax:4@log"), folder_name("band:2,8"), folder_name("above:delta=-0.5")
    ('kmax_4-log', 'band_2--8', 'above_delta=-0.5_clamp')
    """
    text = str(Cut.parse(cut))
    name = "".join(_MARKS.get(mark, mark) for mark in text)
    name += "" if is_folder_name(name) else "-"  # a plugin's cut may be called "aux"
    if not is_folder_name(name):
        raise CutError(f"cut {text!r}: its folder name would have {len(name)} characters")
    return name


def cut_of(folder):
    """Return the canonical string of the cut whose results are in a folder of this name.

    Raises
    ------
    CutError
        No cut has this folder name.
    """
    text = _TEXT.sub(lambda found: _TEXTS[found[0]], folder.removesuffix("-"))
    if folder_name(text) != folder:
        raise CutError(f"{folder!r} is not the folder name of a cut; {text!r} has another one")
    return text


def _fields(text):
    """Return the fields of `Cut` that a text stands for; raise `CutError` where there are none."""
    found = _CUT.fullmatch(text)
    if not found:
        raise CutError("found another form")
    noise, level, mean, control, kind, delta, numbers, field, fill = found.groups()
    values = tuple(map(float, numbers.split(","))) if numbers else ()
    level = float(level) if noise else None
    expected = len(CUTS[kind].numbers) if kind in CUTS else _NUMBERS.get(kind)
    edges = _k_range(kind, values)
    for valid, reason in (
        (expected is not None, f"unknown cut {kind!r}"),
        (len(values) == expected, f"{kind!r} takes {expected} number(s), found {len(values)}"),
        (all(map(math.isfinite, (*values, level or 0))), "numbers must be finite"),
        (not field or kind in FOURIER_CUTS, "only a Fourier cut has a field"),
        (not fill or kind in DENSITY_CUTS, "only a density cut has a fill"),
        (not fill or control not in MASKS, "a mask has no fill"),
        (0 <= edges[0] < edges[-1], f"a Fourier cut needs 0 <= kmin < kmax, found {edges}"),
        (
            kind not in DENSITY_CUTS or values > ((-1,) if delta else (0,)),
            f"a threshold is {'above delta=-1' if delta else 'positive'}",
        ),
        (noise != "white" or level >= 0, "the level of white noise is 0 or more"),
        (noise != "shot" or level > 0, "the tracers per pixel of shot noise are positive"),
    ):
        if not valid:
            raise CutError(reason)
    if kind in FOURIER_CUTS:
        field = field or "linear"
    if kind in DENSITY_CUTS and control not in MASKS:
        fill = fill or "clamp"
    before = tuple(step for step in ((noise, level), (mean, None)) if step[0])
    return {"kind": kind, "values": values, "overdensity": bool(delta), "fill": fill,
            "field": field, "control": control, "before": before}  # fmt: skip


def _k_range(kind, values):
    """Return (kmin, kmax) of a cut."""
    ranges = {"kmax": (0.0, *values), "kmin": (*values, math.inf), "band": values}
    return ranges.get(kind) or (0.0, math.inf)


def _format_number(value):
    """Shortest text that reads back as the same number: 10, 7.5, 1e12, 2.5e11."""
    if value == 0 or 1e-4 <= abs(value) < 1e5:
        return np.format_float_positional(value, trim="-")
    return np.format_float_scientific(value, trim="-", exp_digits=1).replace("e+", "e")
