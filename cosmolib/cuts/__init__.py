"""Cuts, which hide a part of each map from the network."""
