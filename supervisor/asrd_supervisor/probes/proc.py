"""Memory of processes, and what the kernel does when there is none left, from /proc."""

from pathlib import Path

_PAGE = 4096


def rss_bytes(pid: int) -> int | None:
    """Resident memory now, in bytes; None when the process is gone. Never the peak: that one only grows."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return None
    return int(fields[1]) * _PAGE


def oom_kills(vmstat: Path = Path("/proc/vmstat")) -> int:
    """How many processes of this host the kernel has killed for want of memory; 0 where it does not say."""
    try:
        lines = vmstat.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
