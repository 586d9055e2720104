"""Files a user brings: CSV, XLSX and Parquet, mapped by YAML to canonical records and validated by DuckDB."""
