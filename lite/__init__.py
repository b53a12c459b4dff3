"""The making of the embedded suite; the maps themselves are in ``data/lite/``."""
