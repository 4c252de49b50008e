"""What can happen to long audio, which is done in several steps, as rules of a state machine."""

from hypothesis import strategies as st
from hypothesis.stateful import rule

from asrd_protocol.faults import Code
from asrd_protocol.messages import Retries
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.stages import FIRST_CHUNK
from property.checkups import CheckupMachine, by_worker
from property.clients import WHICH, pick
from property.records import Process
from property.tickets import Ticket

PATIENT = Retries(attempts=5, delay=2.0)
LENGTHS = st.lists(st.sampled_from([1.0, 4.0, 20.0]), min_size=2, max_size=5)


class LongAudioMachine(CheckupMachine):
    """With recordings that are cut."""

    @rule(which=WHICH, cut=st.integers(2, 5), diarize=st.booleans(), report=st.booleans(), count=st.integers(1, 12))
    def have_long_audio(self, which: int, cut: int, diarize: bool, report: bool, count: int) -> None:
        """It is stored, and begun."""
        diarize = diarize and "s" in self.names
        ticket = Ticket(self.name(), pick(self.scribes, which), 5, cut=cut, diarize=diarize, report=report)
        ticket.retries = PATIENT if which % 2 else None
        self.world.submit(ticket)
        if ticket.state == "storing":
            self.world.store(ticket)
        self.go_on(count)

    @by_worker("whole !killed", lengths=LENGTHS)
    def cut(self, process: Process, lengths: list[float]) -> None:
        self.world.split(process, tuple(lengths))

    @by_worker("whole !killed", lengths=LENGTHS)
    def cut_in_vain(self, process: Process, lengths: list[float]) -> None:
        """The disk has no room for what was cut."""
        self.world.split(process, tuple(lengths))
        for plan in self.world.adopting[-1:]:
            self.world.fail_to_adopt(plan)

    @by_worker("later !killed")
    def cut_what_is_not_to_be_cut(self, process: Process) -> None:
        event = ev.StepSplit(process.seat, process.attempt, ((0.0, 1.0),), "nonsense")
        self.world.babble(process, event)
        assert process.killed_at is not None

    @rule(which=WHICH, spared=st.integers(0, 3))
    def spoil(self, which: int, spared: int) -> None:
        """Chunks of a recording cannot be transcribed, or all of them cannot."""
        cut = [ticket for ticket in self.tickets("running", "queued") if ticket.chunks]
        for _ in range(20 if cut else 0):
            ticket = pick(cut, which)
            busy = [process for process in self.world.processes.values() if _has_a_chunk(process, ticket)]
            for process in busy[spared:]:
                self.world.fault(process, Code.BAD_AUDIO, leave=False)
            self.world.write_all()
            self.go_on(1)

    @by_worker("later !killed")
    def cancel_between_two_tries(self, process: Process) -> None:
        """One step of a job waits for its next try, and somebody may have another one."""
        part = process.part
        assert part
        self.world.fault(process, Code.ENGINE_ERROR, leave=False)
        if part.state != "waiting" or part.ticket.phase != "active":
            return
        self.world.cancel(part.ticket)
        for key in [key for key in self.world.timers if key[0] == f"job:{part.job}" and key[2] == "retry"]:
            self.world.fire(key)


def _has_a_chunk(process: Process, ticket: Ticket) -> bool:
    part = process.part
    return bool(part and part.ticket is ticket and part.index >= FIRST_CHUNK and process.sent and not process.killed_at)
