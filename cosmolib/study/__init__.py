"""The settings of a study, its runs, and the one identity that decides what may be reused."""
