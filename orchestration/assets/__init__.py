"""Dagster assets: each fetches what a pure function needs, calls it, and stores and describes what it returns."""
