"""Compress pictures of the book to 256 colours, unless the difference would be visible."""

import base64
import io

import numpy as np
from PIL import Image

HEAVY = 40_000  # bytes; smaller pictures are not changed
MEAN_ERROR = 0.5  # largest mean difference, of 255 levels


def compress(notebook):
    """Compress the PNG outputs of an executed notebook (a dict), in place."""
    for cell in notebook["cells"]:
        for output in cell.get("outputs", ()):
            png = output.get("data", {}).get("image/png")
            if png:
                data = base64.b64decode("".join(png))
                output["data"]["image/png"] = base64.b64encode(in_palette(data)).decode()


def in_palette(png):
    """Return a PNG (bytes) with 256 colours if it is smaller and looks the same, else unchanged."""
    if len(png) < HEAVY:
        return png
    image = Image.open(io.BytesIO(png)).convert("RGB")
    small = image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    error = np.abs(np.asarray(image, int) - np.asarray(small.convert("RGB"), int)).mean()
    with io.BytesIO() as buffer:
        small.save(buffer, "PNG", optimize=True)
        return buffer.getvalue() if error < MEAN_ERROR and buffer.tell() < len(png) else png
