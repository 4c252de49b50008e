"""Memory of a process, from /proc."""

from pathlib import Path

_PAGE = 4096


def rss_bytes(pid: int) -> int | None:
    """Resident memory now, in bytes; None when the process is gone. Never the peak: that one only grows."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return None
    return int(fields[1]) * _PAGE
