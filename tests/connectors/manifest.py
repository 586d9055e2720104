"""A manifest store with the same promises as the PostgreSQL one, for tests of landing alone."""

from __future__ import annotations


class MemoryManifest:
    def __init__(self):
        self.rows, self.cursors = [], {}

    def commit(self, *, source, stream, batch_id, files, cursor_before, cursor_after, landed_at):
        if self.cursors.get((source, stream)) != cursor_before:
            return False
        self.rows += [{**f, "sequence": len(self.rows) + i + 1} for i, f in enumerate(files)]
        self.cursors[source, stream] = cursor_after
        return True

    def cursor(self, source, stream):
        return self.cursors.get((source, stream))

    def files(self, *, source=None, entity=None, after=0):
        return [
            r
            for r in self.rows
            if source in (None, r["source"]) and entity in (None, r["entity"]) and r["sequence"] > after
        ]
