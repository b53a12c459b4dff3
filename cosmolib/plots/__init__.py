"""Every figure of the book, by chapter: arrays in, ``(fig, axes)`` out."""
