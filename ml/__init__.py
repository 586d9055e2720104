"""Pure functions on tables: demand, forecasting, replenishment and replay.

Belongs here: everything that computes a number from data frames, a parameter set and a seed. Does not belong here:
databases, HTTP, files other than model artefacts, the clock, dagster. The same functions plan today, backfill a day and
replay a year, so nothing here may look at the current time or at global state.
"""
