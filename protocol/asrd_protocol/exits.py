"""Exit codes as a vocabulary, shared by the command, the daemon and the workers (sysexits.h where it has a word)."""

from enum import IntEnum


class Exit(IntEnum):
    """What a process of asrd says by its exit code."""

    OK = 0
    FAILED = 1
    """A job failed, or the daemon is not ready."""
    USAGE = 2
    """The command line is wrong, or there is no daemon to talk to."""
    UNAVAILABLE = 69
    """EX_UNAVAILABLE: every worker is lost and cannot be started again."""
    SOFTWARE = 70
    """EX_SOFTWARE: a defect; a traceback is in the log."""
    IO = 74
    """EX_IOERR: the journal could not be written; nothing is accepted that is not stored."""
    TEMPFAIL = 75
    """EX_TEMPFAIL: another daemon holds the sockets."""
    CONFIG = 78
    """EX_CONFIG: configuration, model or engine options are wrong; starting again cannot help."""
    ORPHANED = 79
    """A worker left because its supervisor is gone."""
