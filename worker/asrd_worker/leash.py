"""What ties a worker to its supervisor: it never outlives it.

Three ties, because each has a gap. The kernel's parent-death signal works even when the worker hangs in native code
that holds the GIL, but not when the parent died before it was set. The check of the parent closes that gap. The
watching thread also sees that the link is gone while the supervisor's process is still there.
"""

import contextlib
import ctypes
import os
import select
import signal
import threading

import zmq
from zmq.utils.monitor import recv_monitor_message

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


def watch(parent: int, link: "zmq.Socket[bytes]") -> None:
    """Leave when the parent's process or the link to it is gone. Runs on a thread of its own."""
    monitor = link.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    threading.Thread(target=_watch, args=(parent, monitor), name="leash", daemon=True).start()


def _watch(parent: int, monitor: "zmq.Socket[bytes]") -> None:
    try:
        pidfd = os.pidfd_open(parent)
    except OSError:
        os._exit(Exit.ORPHANED)
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    poller.register(int(monitor.getsockopt(zmq.FD)), select.POLLIN)
    with contextlib.suppress(zmq.ZMQError):  # the worker itself has closed the link: it is leaving
        # ZeroMQ wakes a reader only after it has once found nothing: look first, then wait.
        while not _disconnected(monitor) and pidfd not in {fd for fd, _ in poller.poll()}:
            pass
        os._exit(Exit.ORPHANED)


def _disconnected(monitor: "zmq.Socket[bytes]") -> bool:
    """The descriptor of a ZeroMQ socket only says that something may have happened."""
    while monitor.poll(0):
        if recv_monitor_message(monitor)["event"] == zmq.EVENT_DISCONNECTED:
            return True
    return False
