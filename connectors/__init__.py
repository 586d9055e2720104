"""Everything outside Stockflow: one folder per system, each with a client, pull, push and a sandbox.

Belongs here: canonical records (`records`), how a source's payloads become them, landing (`landing`), and the delivery
of approved documents to other systems. Does not belong here: what a number means for the business (`ml`), state people
act on (`operations`), or scheduling (`orchestration`). Nothing here imports those, nor dagster.
"""
