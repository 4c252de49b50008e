"""How much the tasks of this host wait for each other, as the kernel's pressure stall information tells it."""

from pathlib import Path

PRESSURE = Path("/proc/pressure")


def some_avg10(resource: str, directory: Path = PRESSURE) -> float | None:
    """Percent of the last 10 s in which some task waited for ``cpu`` or ``memory``.

    None where the kernel does not say: before 4.20, when started with ``psi=0``, or where /proc shows processes only.
    """
    try:
        lines = (directory / resource).read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        kind, *fields = line.split()
        if kind == "some":
            figures = dict(field.split("=", 1) for field in fields)
            return float(figures["avg10"])
    return None
