"""Suites of maps in CMD's format: files, tables, checks, transforms and summary statistics."""
