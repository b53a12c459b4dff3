"""Suites of maps in the format of CMD: files, tables, checks, scaling and summary statistics."""
