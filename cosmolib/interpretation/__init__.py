"""Attribution: which pixels a prediction depends on."""
