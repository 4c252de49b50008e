"""Memory of a process now, from /proc."""

from pathlib import Path

import msgspec


class Sizes(msgspec.Struct, frozen=True):
    """Bytes; None where the kernel does not say."""

    rss: int | None = None
    pss: int | None = None
    """With what it shares with others counted in shares."""


def sizes_of(pid: int | None) -> Sizes:
    """What a process takes; nothing known of one that is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return Sizes()
    fields = {line.split()[0]: int(line.split()[1]) << 10 for line in text.splitlines() if line.endswith(" kB")}
    return Sizes(fields.get("Rss:"), fields.get("Pss:"))
