"""A client that must not lose anything, as the protocol tells it to be, and that notes what it sees.

Lazy Pirate: wait with a time limit; when it is over, make a new socket and send the same submit with the same id.
"""

import random
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import zmq

from support.history import History, digest_of
from support.wire import Answer, Wire

TIMEOUT_S = 2.0
"""For one answer: many times what a job takes."""

PAUSE_S = 0.2
"""Before a question is asked again that was refused for now."""

AUDIO = b"audio"


class Job(msgspec.Struct, frozen=True):
    """What is submitted, however often."""

    job: str
    text: str
    script: list[dict[str, Any]]
    doomed: bool = False

    @classmethod
    def plain(cls, sleep_s: float, job: str | None = None) -> "Job":
        """Says who it is, in two segments, and takes its time between them."""
        job = job or uuid.uuid4().hex
        ran = {"do": "print", "text": f"RAN {job}"}
        words: list[dict[str, Any]] = [
            {"do": "speak", "text": f" {job}"},
            {"do": "sleep", "s": sleep_s},
            {"do": "speak", "text": " end"},
        ]
        return cls(job, f"{job} end", [ran, *words])

    @classmethod
    def poison(cls) -> "Job":
        """Kills whoever runs it."""
        job = uuid.uuid4().hex
        return cls(job, "", [{"do": "print", "text": f"RAN {job}"}, {"do": "die"}], doomed=True)

    def altered(self) -> "Job":
        """Another question under the same id."""
        return Job(self.job, "other", [{"do": "speak", "text": " other"}])


class Pirate:
    """One client, in one thread; a process of the history."""

    def __init__(self, directory: Path, history: History, name: str, seed: int = 0) -> None:
        self._directory = directory
        self._history = history
        self.name = name
        self.dice = random.Random(f"{seed} {name}")
        self._encoding = self.dice.choice(("json", "msgpack"))
        self._wire: Wire | None = None
        self.at_answer: Callable[[], None] = lambda: None
        """Called as soon as an answer is there, before it is read."""
        self._patience = threading.Event()  # never set: it is only there to wait

    def close(self) -> None:
        """Let go of the socket; what is under way is lost."""
        if self._wire:
            self._wire.close()
            self._wire = None

    def __enter__(self) -> "Pirate":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- questions ----------------------------------------------------------------------------------------------------

    def submit(self, job: Job, reply: str = "final", timeout: float = TIMEOUT_S) -> Answer | None:
        """One submit and its first answer; None when there is none in time."""
        self.begin(job, reply, timeout)
        return self.outcome("submit", job.job)

    def begin(self, job: Job, reply: str = "final", timeout: float = TIMEOUT_S) -> None:
        """One submit; what came of it has to be asked for."""
        self._history.note(self.name, "invoke", "submit", job.job, text=job.text, doomed=job.doomed)
        self._send(timeout, "submit", AUDIO, job=job.job, options={"script": job.script}, reply=reply)

    def ask(self, act: str, job: str, timeout: float = TIMEOUT_S, **fields: Any) -> Answer | None:
        """``fetch``, ``wait``, ``cancel`` or ``release``."""
        self._history.note(self.name, "invoke", act, job)
        self._send(timeout, act, None, job=job, **fields)
        return self.outcome(act, job)

    def end(self, job: str) -> Answer | None:
        """The end that follows ``accepted``."""
        self._history.note(self.name, "invoke", "end", job)
        return self.outcome("end", job)

    def _send(self, timeout: float, question: str, body: bytes | None, **fields: Any) -> None:
        if self._wire is None:
            self._wire = Wire(self._directory, "dealer", self._encoding, timeout=timeout)
        self._wire.send(question, body, **fields)

    def outcome(self, act: str, job: str) -> Answer | None:
        """Note what came of a question; None when there is no answer in time."""
        assert self._wire
        try:
            answer, body = self._wire.receive()
            while answer["type"] in ("progress", "segment"):
                answer, body = self._wire.receive()
        except zmq.Again:
            self.close()
            self._history.note(self.name, "info", act, job)
            return None
        self.at_answer()
        told = answer["type"]
        if told == "refused":
            self._history.note(self.name, "fail", act, job, answer=told, code=answer["fault"]["code"])
        elif told in ("completed", "failed"):
            self._note_end(act, job, answer, body)
        else:
            self._history.note(self.name, "ok", act, job, answer=told)
        return answer

    def _note_end(self, act: str, job: str, answer: Answer, body: bytes) -> None:
        bare = {key: value for key, value in answer.items() if key not in ("ref", "v")}
        told = msgspec.json.encode(bare, order="deterministic")
        done = answer["type"] == "completed"
        self._history.note(
            self.name,
            "ok",
            act,
            job if answer["job"] == job else answer["job"],
            answer=answer["type"],
            code="" if done else answer["fault"]["code"],
            text=msgspec.json.decode(body)["text"] if done else "",
            digest=digest_of(told, body),
            attempts=answer["run"].get("attempts", 1) if done else answer.get("attempts", 0),
        )

    # --- how it goes on -----------------------------------------------------------------------------------------------

    def insist(self, job: Job, tries: int = 15) -> tuple[Answer | None, bool]:
        """Submit until there is an end; whether each submit had an answer, so that none can come late."""
        definite = True
        for _ in range(tries):
            reply = self.dice.choice(("final", "stream"))
            answer = self.submit(job, reply)
            if answer and answer["type"] == "accepted":
                answer = self.end(job.job)
            elif answer is None:
                definite = False
            if answer and answer["type"] in ("completed", "failed"):
                return answer, definite
            if answer and not answer["fault"].get("retry"):
                return answer, definite
            if answer:
                self._patience.wait(PAUSE_S)
        return None, definite

    def release(self, job: str, tries: int = 15) -> bool:
        """Release until it is known that there is nothing left."""
        for _ in range(tries):
            if (answer := self.ask("release", job)) and answer["type"] in ("released", "refused"):
                return True
        return False

    def mob(self, job: Job, size: int) -> bool:
        """The same submit on many connections at once, and perhaps one that is not the same; whether each had an
        answer."""
        crew = [Pirate(self._directory, self._history, f"{self.name}.{number}") for number in range(size)]
        jobs = [job] * size
        if self.dice.random() < 0.3:
            jobs[-1] = job.altered()
        try:
            for pirate, theirs in zip(crew, jobs, strict=True):
                pirate.begin(theirs)
            answers = [pirate.outcome("submit", job.job) for pirate in crew]
        finally:
            for pirate in crew:
                pirate.close()
        return None not in answers

    def desert(self, job: Job) -> None:
        """Submit, perhaps wait for ``accepted`` or a little more, and go."""
        self.close()
        how = self.dice.randrange(3)
        if how == 0:
            self.submit(job, timeout=0.001)
        elif (answer := self.submit(job, "stream")) and answer["type"] == "accepted" and how == 1:
            self._history.note(self.name, "invoke", "end", job.job)
            self._history.note(self.name, "info", "end", job.job)
        self.close()
