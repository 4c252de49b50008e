"""Memory and state of processes, and what the kernel does when there is no memory left, from /proc."""

import os
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_KIB = 1024
_PROC = Path("/proc")


def rss_bytes(pid: int) -> int | None:
    """Resident memory now, in bytes; None when the process is gone or a zombie. Never the peak: that one only grows."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return None
    return int(fields[1]) * _PAGE or None


def pss_bytes(pid: int, proc: Path = _PROC) -> int | None:
    """Resident memory with shared pages counted in shares, in bytes; None when the process is gone or not ours.

    The kernel walks all pages of the process for it: about 20 ms for each GiB.
    """
    return _kilobytes(proc / str(pid) / "smaps_rollup", "Pss:")


def stopped(pid: int, proc: Path = _PROC) -> bool | None:
    """Whether a signal or a tracer holds the process; None when it is gone."""
    try:
        stat = (proc / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The name stands in brackets and may hold any byte, brackets and newlines too: the last bracket ends it.
    state = stat[stat.rfind(b")") + 1 :].split(maxsplit=1)[:1]
    return state[0] in (b"T", b"t") if state else None


def available_bytes(meminfo: Path = _PROC / "meminfo") -> int | None:
    """Memory of the host that can be had without swapping, in bytes; None where the kernel does not say."""
    return _kilobytes(meminfo, "MemAvailable:")


def oom_kills(vmstat: Path = Path("/proc/vmstat")) -> int:
    """How many processes of this host the kernel has killed for want of memory; 0 where it does not say."""
    try:
        lines = vmstat.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _kilobytes(path: Path, label: str) -> int | None:
    """The figure behind the label, in bytes."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * _KIB for line in lines if line.startswith(label)), None)
