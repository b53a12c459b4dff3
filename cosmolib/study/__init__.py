"""Settings of a study, folders and identity of its runs, files, locks and provenance."""
