"""What ties a worker to its supervisor: it never outlives it.

Three ties, because each has a gap. The kernel's parent-death signal works even when the worker hangs in native code
that holds the GIL, but not when the parent died before it was set. The check of the parent closes that gap. The third
is the thread in ``leash.py``. These two come before any import that takes time.
"""

import ctypes
import os
import signal

from asrd_protocol.exits import Exit

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


def tie(parent: int, name: str) -> None:
    """Die with the parent, and show ``name`` in process lists; leaves at once when the parent is gone already."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)
    if os.getppid() != parent:
        os._exit(Exit.ORPHANED)
