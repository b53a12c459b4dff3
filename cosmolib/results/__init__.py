"""Compute the results of a study: tables, generalisation, claims and controls."""
