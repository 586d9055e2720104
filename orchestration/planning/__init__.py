"""From marts to proposals for one morning: what is read, frozen, forecast, decided and saved.

Plain Python without dagster: the daily job, `stockflow explain` and backfills call the same functions. Planning for a
`cycle_date` sees the business days before it and nothing later, whenever it is run.
"""
