"""The one DuckDB file between landing and the marts: lock, load, and publish. dbt does everything in between.

Plain Python without dagster, so that the command line, tests and assets use the same functions. Does not belong here:
SQL that gives records a business meaning (`dbt_project`), or state that people act on (`operations`).
"""
