"""Publishing the marts: PostgreSQL for reports, a DuckDB copy and a Parquet snapshot for everything else.

Each target is brought from what it holds to what the warehouse holds by replacing the parts that differ, atomically,
under one snapshot id. A part is one day of a fact or a whole small table; its checksum is stored in the target in the
same atomic step, so a target killed at any point holds exactly the snapshot it says it holds, and the next publication
continues from there. Plain Python without dagster.
"""
