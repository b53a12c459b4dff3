"""From maps under a cut to a trained network and its scores."""
