"""What can go wrong for a caller. Every message is one sentence that names the thing."""

from asrd_protocol.faults import Blame, Code, Fault


class AsrdError(Exception):
    """The base of everything that this library raises on purpose."""


class NoDaemon(AsrdError, ConnectionError):
    """Nobody answers on the sockets, or the daemon went away and did not come back."""


class TimedOut(AsrdError, TimeoutError):
    """The answer or the result did not come within the time that the caller gave."""


class ProtocolError(AsrdError):
    """The daemon said something that this version of the client cannot read."""

    @classmethod
    def unexpected(cls, question: object, answer: object) -> "ProtocolError":
        """An answer that belongs to another question."""
        return cls(f"the daemon answered {type(question).__name__} with {type(answer).__name__}")


class AudioError(AsrdError, ValueError):
    """What was given as audio cannot be sent; nothing was sent."""


class OptionError(AsrdError, ValueError):
    """An option has a name or a value that cannot be written in a message."""


class FaultError(AsrdError):
    """The daemon says why not: ``fault`` has the code, the blame and whether a repeat may help."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault

    def __str__(self) -> str:
        return self.fault.message


class Refused(FaultError):
    """The question was refused and changed nothing."""

    @classmethod
    def of(cls, fault: Fault) -> "Refused":
        """The narrowest refusal for a fault."""
        match fault.code:
            case Code.OVERLOADED | Code.QUOTA:
                return Overloaded(fault)
            case Code.UNKNOWN_JOB:
                return UnknownJob(fault)
            case _:
                return Refused(fault)


class Overloaded(Refused):
    """There is no room for the job now, in the queue or in the share of this user."""

    @property
    def retry_after(self) -> float:
        """Seconds after which a repeat is worth while."""
        return 1.0 if self.fault.retry_after is None else self.fault.retry_after


class UnknownJob(Refused):
    """The daemon has no job of this id: there never was one, or its result has been released."""


class JobFailed(FaultError):
    """The job was accepted and ended without a result."""

    @classmethod
    def of(cls, fault: Fault) -> "JobFailed":
        """The narrowest failure for a fault."""
        return Cancelled(fault) if fault.code is Code.CANCELLED else JobFailed(fault)


class Cancelled(JobFailed):
    """Somebody cancelled the job."""


class JobLost(JobFailed):
    """The daemon had accepted the job and knows it no longer: it was restarted and keeps no journal."""

    @classmethod
    def named(cls, job: str) -> "JobLost":
        """The loss of one job."""
        said = f"the daemon has accepted the job {job} but knows it no longer; submit it again"
        return cls(Fault(code=Code.UNKNOWN_JOB, blame=Blame.HOST, message=said, retry=True))
