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
    """Whether a signal holds the process; None when it is gone. One that a debugger holds is not meant."""
    try:
        stat = (proc / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The name stands in brackets and may hold any byte, brackets and newlines too: the last bracket ends it.
    state = stat[stat.rfind(b")") + 1 :].split(maxsplit=1)[:1]
    return state[0] == b"T" if state else None


def available_bytes(meminfo: Path = _PROC / "meminfo") -> int | None:
    """Memory of the host that can be had without swapping, in bytes; None where the kernel does not say."""
    return _kilobytes(meminfo, "MemAvailable:")


def memory_bytes(meminfo: Path = _PROC / "meminfo", group: Path | None = None) -> int:
    """Memory that there is: of the host, or of the cgroup that we are in, if that has less."""
    limit = _figure((group or own_group()) / "memory.max")
    total = _kilobytes(meminfo, "MemTotal:") or 1 << 62
    return total if limit is None else min(limit, total)


def memory_left(meminfo: Path = _PROC / "meminfo", group: Path | None = None) -> float | None:
    """Share of it that can be had without swapping; None where the kernel does not say."""
    total, available = _kilobytes(meminfo, "MemTotal:"), available_bytes(meminfo)
    if not total or available is None:
        return None
    here = group or own_group()
    limit, used = _figure(here / "memory.max"), _figure(here / "memory.current")
    if limit is None or used is None or limit >= total:
        return available / total
    cached = _figure(here / "memory.stat", "inactive_file") or 0
    return min(available / total, 1 - max(0, used - cached) / limit)


def own_group(proc: Path = _PROC, root: Path = Path("/sys/fs/cgroup")) -> Path:
    """The directory of the cgroup (version 2) that this process is in."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return root
    inside = next((line[3:] for line in lines if line.startswith("0::")), "/")
    found = root / inside.lstrip("/")
    return found if found.is_dir() else root  # in a container the path may be one of the host


def oom_kills(vmstat: Path = Path("/proc/vmstat")) -> int:
    """How many processes of this host the kernel has killed for want of memory; 0 where it does not say."""
    try:
        lines = vmstat.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _figure(path: Path, label: str = "") -> int | None:
    """The number in a file, or behind the label in it; None for ``max`` and for what is not there."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    words = next((words for line in lines if (words := line.split()) and (not label or words[0] == label)), [])
    return int(words[-1]) if words and words[-1].isdecimal() else None


def _kilobytes(path: Path, label: str) -> int | None:
    """The figure behind the label, in bytes."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * _KIB for line in lines if line.startswith(label)), None)
