"""Cuts: which part of a map a network may see."""
