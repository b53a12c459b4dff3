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
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


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
        reason = _invalid(self)
        if reason:
            raise CutError(reason)

    @classmethod
    def parse(cls, text):
        """Read a cut from its string; raise `CutError`, quoting it, where it cannot be read."""
        if isinstance(text, cls):
            return text
        if not isinstance(text, str):
            raise CutError(f"a cut is a string, found {text!r}; {_grammar()}")
        try:
            return cls(**_parts(text))
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
        if self.kind == "kmax":
            return 0.0, self.values[0]
        if self.kind == "kmin":
            return self.values[0], math.inf
        return self.values if self.kind == "band" else (0.0, math.inf)


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


def _parts(text):
    """Split the text of a cut into the arguments of `Cut`."""
    head, *rest = text.split(":")
    name, equals, level = head.partition("=")
    if name in STEPS:
        if not rest:
            raise CutError(f"{head!r} must be followed by a cut, or by none")
        parts = _parts(":".join(rest))
        step = (name, _number(level) if equals else None)
        return parts | {"before": (step, *parts.get("before", ()))}
    control = None
    if head in CONTROLS:
        if not rest or rest[0] not in DENSITY_CUTS:
            raise CutError(f"{head!r} must be followed by :above or :below")
        control, head, rest = head, rest[0], rest[1:]
    if head == "none":
        if rest:
            raise CutError("'none' stands alone")
        return {"kind": "none"}
    if head in FOURIER_CUTS:
        if len(rest) != 1:
            raise CutError(f"{head!r} takes one part after its colon, found {len(rest)}")
        numbers, at, field = rest[0].partition("@")
        values = tuple(map(_number, numbers.split(",")))
        return {"kind": head, "values": values, "field": field if at else "linear"}
    if head in DENSITY_CUTS:
        if not 1 <= len(rest) <= 2:
            raise CutError(f"{head!r} takes a threshold and at most one fill")
        fill = rest[1] if len(rest) == 2 else None if control in MASKS else "clamp"
        threshold = rest[0].removeprefix("delta=")
        return {
            "kind": head, "values": (_number(threshold),), "overdensity": threshold != rest[0],
            "fill": fill, "control": control,
        }  # fmt: skip
    if head in CUTS:
        if len(rest) > 1:
            raise CutError(f"{head!r} takes at most one part after its colon, found {len(rest)}")
        return {"kind": head, "values": tuple(map(_number, rest[0].split(","))) if rest else ()}
    raise CutError(f"unknown cut {head!r}")


def _number(text):
    """A finite number in plain or scientific notation (no spaces, inf, nan or underscores)."""
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise CutError(f"{text!r} is not a number")
    return value


def _format_number(value):
    """Shortest text that reads back as the same number: 10, 7.5, 1e12, 2.5e11."""
    if value == 0 or 1e-4 <= abs(value) < 1e5:
        return np.format_float_positional(value, trim="-")
    return np.format_float_scientific(value, trim="-", exp_digits=1).replace("e+", "e")


def _invalid(cut):
    """Return why the fields of a cut are inconsistent, or None."""
    expected = {"none": 0, "band": 2}.get(cut.kind, 1)
    if cut.kind in CUTS:
        expected = len(CUTS[cut.kind].numbers)
    elif cut.kind not in ("none", *FOURIER_CUTS, *DENSITY_CUTS):
        return f"unknown cut {cut.kind!r}"
    if len(cut.values) != expected:
        return f"{cut.kind!r} takes {expected} number(s), found {len(cut.values)}"
    if not all(math.isfinite(value) for value in cut.values):
        return "numbers must be finite"
    if cut.is_fourier:
        low, high = cut.k_range
        if low < 0 or high <= low:
            return f"a Fourier cut needs 0 <= kmin < kmax, found kmin={low:g}, kmax={high:g}"
        if cut.field not in FIELDS:
            return f"unknown field {cut.field!r} after @"
    elif cut.field is not None:
        return "only a Fourier cut names a field"
    if cut.is_density:
        if cut.values[0] <= (-1 if cut.overdensity else 0):
            return f"a threshold is {'above delta=-1' if cut.overdensity else 'positive'}"
        if cut.control not in (None, *CONTROLS):
            return f"unknown control {cut.control!r}"
        if cut.control in MASKS and cut.fill is not None:
            return "a mask has no fill"
        if cut.control not in MASKS and cut.fill not in FILLS:
            return f"unknown fill {cut.fill!r}"
    elif cut.fill is not None or cut.control is not None or cut.overdensity:
        return "only a density cut has a fill, a control or an overdensity threshold"
    return _invalid_steps(cut.before)


def _invalid_steps(steps):
    """Return why steps (name, level) are invalid, or None. Only noise has a level."""
    order = [name in MEANS for name, _ in steps]
    if len({*order}) < len(order):
        return "noise and the removal of a mean go at most once each before a cut"
    if order != sorted(order):
        return "noise comes before nomean and nologmean"
    for name, level in steps:
        if name not in STEPS:
            return f"unknown step {name!r} before a cut"
        if (level is None) != (name in MEANS):
            expected = "no level" if name == "nomean" else "a level, as in white=0.3"
            return f"{name!r} takes {expected}"
        if name == "white" and not 0 <= level < math.inf:
            return f"the level of white noise is 0 or more, found {level:g}"
        if name == "shot" and not 0 < level < math.inf:
            return f"shot noise needs a positive number of tracers per pixel, found {level:g}"
    return None
