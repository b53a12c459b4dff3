"""Draw the picture of a shared link: the title of the book next to its headline figure."""

import textwrap

from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.image import imread

from cosmolib.study.io import atomic_path

SIZE = (1200, 630)  # pixels, as social networks require
TEXT = 310  # [pixels], width of the text on the left
EDGE = 36  # [pixels], margin
MOST_BYTES = 300_000  # some social networks show no larger picture


def draw(headline, title, subtitle, target):
    """Draw a card of 1200 x 630 pixels and write it as PNG.

    Parameters
    ----------
    headline : path-like
        Picture of any size, which is scaled to fit.
    title, subtitle : str
    target : path-like
        PNG file to write.

    Raises
    ------
    ValueError
        If the file is larger than `MOST_BYTES`.
    """
    picture = imread(headline)
    width, height = SIZE
    room = (width - TEXT - 3 * EDGE // 2, height - 2 * EDGE)
    scale = min(room[0] / picture.shape[1], room[1] / picture.shape[0])
    size = (picture.shape[1] * scale / width, picture.shape[0] * scale / height)
    left = (TEXT + EDGE + (room[0] - size[0] * width) / 2) / width
    # The style of the book would crop the figure, but the card has a fixed size.
    with style.context("default"):
        fig = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor="white")
        axes = fig.add_axes((left, 0.5 - size[1] / 2, *size))
        axes.imshow(picture, interpolation="lanczos", aspect="auto")
        axes.set_axis_off()
        common = {"x": EDGE / width, "ha": "left", "color": "#1a1a1a"}
        words = textwrap.fill(title, 12)
        fig.text(y=0.9, s=words, size=27, weight="bold", va="top", linespacing=1.25, **common)
        words = textwrap.fill(subtitle, 24)
        fig.text(y=0.09, s=words, size=15, va="bottom", linespacing=1.35, **common)
        with atomic_path(target) as temporary:
            fig.savefig(temporary, dpi=100, metadata={"Software": None})
            size = temporary.stat().st_size
            if size > MOST_BYTES:
                raise ValueError(f"{target} has {size} bytes; at most {MOST_BYTES} are allowed")
