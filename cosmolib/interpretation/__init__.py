"""Explain networks by attribution, with sanity checks and summaries."""
