"""Simulate, validate and pack the embedded suite Lite, whose maps are in ``data/lite/``."""
