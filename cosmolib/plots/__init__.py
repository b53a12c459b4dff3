"""Every figure of the book; each function takes arrays and returns (fig, axes)."""
