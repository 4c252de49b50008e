"""A file that holds back some of the disk, so that jobs can end when everything else is full."""

import contextlib
import errno
import os
from pathlib import Path

MARGIN = 1.25
"""Times the ballast that has to be free before it is laid down again, or the next job would fill the disk."""


class Ballast:
    """The file is there, in full size, or it is not there."""

    def __init__(self, path: Path | None, size: int) -> None:
        """``path``: None for no ballast."""
        self._path = path if size else None
        self._size = size

    def free(self) -> None:
        """Give the room away."""
        if self._path:
            self._path.unlink(missing_ok=True)

    def restore(self) -> bool:
        """Take the room again; False when the disk does not have it.

        Raises:
            OSError: when it is something else than a full disk.
        """
        if self._path is None or self._whole():
            return True
        room = os.statvfs(self._path.parent)
        if room.f_bavail * room.f_frsize < self._size * MARGIN:
            return False
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, self._size)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._path.unlink()
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            return False
        finally:
            os.close(fd)
        return True

    def _whole(self) -> bool:
        assert self._path
        try:
            return self._path.stat().st_size == self._size
        except FileNotFoundError:
            return False
