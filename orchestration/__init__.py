"""The composition root: Dagster definitions, resources, settings, API wiring and the command line.

The only place that imports dagster and the only one that sees `connectors`, `ml` and `operations` together. Assets here
are thin: they fetch what a pure function needs, call it, and store and describe what it returns.
"""
