"""The jobs that have not ended, counted by state."""

from collections import Counter

from asrd_supervisor.core.plan import Job, JobState, StepState
from asrd_supervisor.core.quotas import Quotas


class Register:
    """By id, in the order in which they came."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas
        self._states: Counter[JobState] = Counter()
        self.active: dict[str, Job] = {}

    def count(self, *states: JobState) -> int:
        """How many jobs are in one of these states."""
        return sum(self._states[state] for state in states)

    def enter(self, job: Job) -> None:
        """A job has come."""
        self.active[job.id] = job
        self._states[job.state] += 1
        self._quotas.enter(job)

    def leave(self, job: Job) -> None:
        """A job has ended, or was not taken."""
        del self.active[job.id]
        self._states[job.state] -= 1
        self._quotas.leave(job)

    def note_state(self, job: Job) -> None:
        """The state of a job follows from those of its steps; it is counted, because every submit asks for that."""
        states = {step.state for step in job.steps.values()}
        if StepState.RUNNING in states or StepState.STORING in states:
            state = JobState.RUNNING
        elif StepState.QUEUED in states:
            state = JobState.QUEUED
        else:
            state = JobState.WAITING if StepState.WAITING in states else job.state
        if state is not job.state:
            self._states[job.state] -= 1
            self._states[state] += 1
            job.state = state
