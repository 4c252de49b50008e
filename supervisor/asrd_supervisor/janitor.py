"""Cleans up after a supervisor that was killed.

A small process, split off before anything large is imported, that does nothing but wait for the end of a pipe. The
kernel ends it with the supervisor, however that dies. Then the sockets go, so that clients are told "no daemon"
instead of waiting at a socket that nobody reads. The workers need no janitor: the kernel kills them with their parent.
"""

import contextlib
import fcntl
import os
import select

from asrd_protocol.addresses import Addresses
from asrd_supervisor.ground import Ground, clear, leads_to


class Janitor:
    """The supervisor's end of the pipe."""

    def __init__(self, ground: Ground, addresses: Addresses) -> None:
        reader, self._writer = os.pipe()
        supervisor = os.pidfd_open(os.getpid())
        child = os.fork()
        if child == 0:
            _split_off(reader, self._writer, supervisor, ground, addresses)
        os.close(reader)
        os.close(supervisor)
        os.waitpid(child, 0)

    def dismiss(self) -> None:
        """The supervisor has cleaned up by itself."""
        with contextlib.suppress(OSError):
            os.write(self._writer, b"!")
        os.close(self._writer)


def _split_off(reader: int, writer: int, supervisor: int, ground: Ground, addresses: Addresses) -> None:
    """Fork once more, so that the janitor is nobody's child and leaves no zombie."""
    try:
        if os.fork() == 0:
            os.setsid()
            os.close(writer)
            os.close(ground.lock_fd)
            _wait_and_clean(reader, supervisor, addresses, ground.made)
    finally:
        os._exit(0)


def _wait_and_clean(reader: int, supervisor: int, addresses: Addresses, made: bool) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.chdir("/")
    if os.read(reader, 1):
        return
    # The kernel closes the descriptors of a killed process one by one: the pipe may end before the lock is free.
    select.select([supervisor], [], [])
    with contextlib.suppress(OSError):
        fd = os.open(addresses.lock, os.O_RDWR | os.O_CLOEXEC)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails when the next daemon is here already
        if leads_to(addresses.lock, fd):
            clear(addresses, remove_directory=made)
