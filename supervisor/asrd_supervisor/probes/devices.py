"""Names of GPUs: which one a worker means by an index, once CUDA_VISIBLE_DEVICES has had its say.

CUDA counts the devices that the variable shows, in its order; the driver counts all of them, by their place on the bus.
CUDA counts like the driver when CUDA_DEVICE_ORDER is PCI_BUS_ID, or when all GPUs are alike.
"""

from collections.abc import Mapping


def device_name(device: str, index: int, env: Mapping[str, str]) -> str:
    """The name of a device of a resolved pool, given the environment of its workers.

    ``cpu``; ``cuda:2`` for the GPU that the driver counts as 2; ``cuda:GPU-5f6e`` or ``cuda:MIG-5f6e`` where the
    environment names it by its UUID or the start of it; ``cuda:none`` where the worker sees no such device.
    """
    if device != "cuda":
        return device
    visible = env.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return f"cuda:{index}"
    shown = _shown(visible)
    return f"cuda:{shown[index]}" if index < len(shown) else "cuda:none"


def _shown(visible: str) -> list[str]:
    """What CUDA takes from the variable: all up to the first entry that means no device."""
    found: list[str] = []
    for entry in (part.strip() for part in visible.split(",")):
        if entry.isdecimal():
            found.append(str(int(entry)))
        elif entry.startswith(("GPU-", "MIG-")):
            found.append(entry)
        else:
            break
    return found
