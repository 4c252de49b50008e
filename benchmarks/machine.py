"""What the figures were measured on: without it they mean nothing."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
import zmq

PACKAGES = ("asrd", "pyzmq", "uvloop", "msgspec", "faster-whisper", "ctranslate2", "av", "numpy")


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The machine and the software of one run."""

    cores: int
    """Those that this process may use."""
    cpu: str
    memory_gb: float
    system: str
    python: str
    versions: dict[str, str]
    load: list[float]
    """Load averages over 1, 5 and 15 minutes before the run: how calm the machine was."""


def describe() -> Machine:
    """This machine, now."""
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        cpu=_cpu_model(),
        memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        system=f"{platform.system()} {platform.machine()}, {_distribution()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        versions={**{name: found for name in PACKAGES if (found := _version(name))}, "libzmq": zmq.zmq_version()},
        load=[round(x, 2) for x in os.getloadavg()],
    )


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")
    except OSError:
        return "unknown"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
