"""A thread that watches the supervisor: it also sees that the link is gone while the process is still there."""

import contextlib
import os
import select
import threading

import zmq
from zmq.utils.monitor import recv_monitor_message

from asrd_protocol.exits import Exit


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
