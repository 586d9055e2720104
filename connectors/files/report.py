"""What became of the rows of one imported file, and the lines that say so."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class ImportReport:
    """What became of the rows of one file. `records` counts what was landed new, by entity."""

    kind: str
    source: str
    file: str
    note: str = ""
    accepted: int = 0
    unchanged: int = 0
    quarantined: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    explained: dict[str, str] = field(default_factory=dict)
    repeated: int = 0
    repeats_dropped: bool = False
    records: Counter[str] = field(default_factory=Counter)
    quarantined_batches: list[str] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def received(self) -> int:
        return self.accepted + self.unchanged + self.quarantined

    @property
    def rows_per_second(self) -> float:
        return self.received / self.seconds if self.seconds else 0.0

    def lines(self) -> list[str]:
        """What the command prints."""
        shown = [f"{self.file}: {self.kind} of {self.source}" + (f" ({self.note})" if self.note else "")]
        shown += [f"accepted {self.accepted}", f"unchanged {self.unchanged}"]
        if self.repeated and self.repeats_dropped:
            shown.append(f"  {self.repeated} repeated_line: identical to another line of its document, dropped")
        shown += self._counted(self.skipped)
        shown.append(f"quarantined {self.quarantined}")
        shown += self._counted(self.reasons)
        if self.repeated and not self.repeats_dropped:
            shown.append(f"rows that repeat a line of their document, kept as lines of their own: {self.repeated}")
        if self.records:
            shown.append("landed " + ", ".join(f"{count} {entity}" for entity, count in sorted(self.records.items())))
        shown.append(f"received {self.received} in {self.seconds:.1f} s ({self.rows_per_second:,.0f} rows/s)")
        return shown

    def _counted(self, reasons: Counter[str]) -> list[str]:
        ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
        return [f"  {count} {reason}: {self.explained[reason]}" for reason, count in ordered]
