"""Whether a history can be that of a daemon that keeps its promises.

Nothing here knows the daemon: only what it has promised, what was asked of it and answered, and what was done to it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from support.history import Entry

KNOWN = ("accepted", "pending", "completed", "failed")
"""Answers after which the daemon may never say again that there is no such job."""

ENDS = ("completed", "failed")

BLAMED = ("poison", "worker_died", "worker_hung")
"""How a job may end that was well, and whose workers were killed."""


class Violation(msgspec.Struct, frozen=True):
    """A promise that was not kept."""

    kind: str
    job: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: job {self.job!r}: {self.what}"


class Deed(msgspec.Struct, frozen=True):
    """A question and what came of it."""

    asked: Entry
    came: Entry | None


class Story(msgspec.Struct):
    """All that concerns one job."""

    job: str
    deeds: list[Deed] = []
    runs: int = 0
    listed: list[str] = []
    """States in which it was seen when all was over."""

    def came(self, *answers: str) -> list[Entry]:
        """What came of questions, as far as it was one of these answers."""
        return [deed.came for deed in self.deeds if deed.came and deed.came.answer in answers]

    def asked(self, act: str) -> list[Deed]:
        """The questions of one kind."""
        return [deed for deed in self.deeds if deed.asked.act == act]

    @property
    def known_at(self) -> float:
        """When the daemon had said that it has the job."""
        return min((entry.at for entry in self.came(*KNOWN)), default=float("inf"))

    @property
    def release_at(self) -> float:
        """From when on the daemon may have forgotten it."""
        return min((deed.asked.at for deed in self.asked("release")), default=float("inf"))


class Limits(msgspec.Struct, frozen=True):
    """What was configured, and what was done to the daemon."""

    attempts: int = 3
    interruptions: int = 3
    """Deaths of the daemon that a running job survives."""
    worker_hits: int = 0
    kills: int = 0
    stops: int = 0

    @property
    def tries(self) -> int:
        """How many attempts a job can have had: one that ends with the killed daemon is made up for by another."""
        return self.attempts + min(self.kills, self.interruptions + 1)

    @property
    def runs(self) -> int:
        """How often a job can have been begun: one that ends with the stopped daemon is not counted by it."""
        return self.tries + self.stops

    @property
    def blamed(self) -> int:
        """How many jobs can have been taken for the cause of what was done: 2 deaths of workers make a poison, or one
        more death of the daemon than is allowed, and each of those meets 3 running jobs."""
        return self.worker_hits // 2 + 3 * self.kills // (self.interruptions + 1)


def check(entries: list[Entry], attempts: int = 3) -> list[Violation]:
    """Every promise that was not kept."""
    hits = Counter(entry.act for entry in entries if not entry.job)
    limits = Limits(
        attempts,
        worker_hits=hits["kill worker"] + hits["stop worker"],
        kills=hits["kill supervisor"],
        stops=hits["stop supervisor"],
    )
    stories, found = _stories(entries)
    rules = (_invented, _refused, _lost, _unfinished, _ends, _after_the_end, _after_release, _repeats, _texts, _tries)
    for story in stories.values():
        for rule in rules:
            found.extend(rule(story, limits))
    return found + list(_blame(stories.values(), limits))


def _stories(entries: list[Entry]) -> tuple[dict[str, Story], list[Violation]]:
    stories: dict[str, Story] = {}
    open_: dict[str, Entry] = {}
    broken: list[Violation] = []
    for entry in entries:
        if not entry.job:
            continue
        story = stories.setdefault(entry.job, Story(entry.job))
        if entry.act == "ran":
            story.runs += 1
        elif entry.act == "listed":
            story.listed.append(entry.answer)
        elif entry.phase == "invoke":
            if entry.process in open_:
                broken.append(Violation("history", entry.job, f"{entry.process} asks before it has its answer"))
            open_[entry.process] = entry
        else:
            asked = open_.pop(entry.process, None)
            if asked is None or (asked.job, asked.act) != (entry.job, entry.act):
                broken.append(Violation("history", entry.job, f"{entry.process} has an answer to nothing"))
            else:
                story.deeds.append(Deed(asked, entry))
    for asked in open_.values():  # nobody waits for it any more
        stories[asked.job].deeds.append(Deed(asked, None))
    return stories, broken


# --- the promises -----------------------------------------------------------------------------------------------------

Found = Iterator[Violation]


def _invented(story: Story, _: Limits) -> Found:
    """No result, and no job, without a submit."""
    first = min((deed.asked.at for deed in story.asked("submit")), default=float("inf"))
    if early := [entry.answer for entry in story.came(*KNOWN, "released") if entry.at < first]:
        yield Violation("invented", story.job, f"{early[0]}, but nobody had submitted it")
    if first == float("inf") and (story.runs or story.listed):
        yield Violation("invented", story.job, f"it ran {story.runs} times and is {story.listed}: nobody submitted it")


def _refused(story: Story, _: Limits) -> Found:
    """After ``refused`` there is no job."""
    submits = story.asked("submit")
    if submits and all(deed.came and deed.came.phase == "fail" for deed in submits):
        seen = [entry.answer for entry in story.came(*KNOWN, "released")] + story.listed
        if seen or story.runs:
            yield Violation(
                "refused", story.job, f"each submit was refused, but it ran {story.runs} times and is {seen}"
            )


def _lost(story: Story, _: Limits) -> Found:
    """What the daemon has said to have, it has, and ends."""
    known_at, release_at = story.known_at, story.release_at
    if known_at == float("inf"):
        return
    for deed in story.deeds:
        if deed.asked.at > known_at and deed.came and deed.came.code == "unknown_job" and deed.came.at < release_at:
            yield Violation("lost", story.job, f"accepted, then unknown to {deed.asked.act} of {deed.asked.process}")
            return
    if not story.came(*ENDS) and release_at == float("inf"):
        yield Violation("lost", story.job, "accepted, and has no end")


def _unfinished(story: Story, _: Limits) -> Found:
    """When all is over, nothing waits and nothing runs."""
    if left := [state for state in story.listed if state in ("queued", "running")]:
        yield Violation("unfinished", story.job, f"still {left[0]} after the run")


def _ends(story: Story, _: Limits) -> Found:
    """One end, and the same bytes for everybody."""
    ends = {(entry.answer, entry.digest): entry for entry in story.came(*ENDS)}
    if len(ends) > 1:
        told = ", ".join(f"{e.answer} {e.code}{e.text!r} ({e.digest}, to {e.process})" for e in ends.values())
        yield Violation("two results", story.job, told)


def _after_the_end(story: Story, _: Limits) -> Found:
    """An end is final."""
    ended_at = min((entry.at for entry in story.came(*ENDS)), default=float("inf"))
    for deed in story.deeds:
        if deed.asked.at > ended_at and deed.came and deed.came.answer == "pending":
            yield Violation("not final", story.job, f"it had ended, and is pending for {deed.asked.act}")
            return


def _after_release(story: Story, _: Limits) -> Found:
    """What is released is gone."""
    gone_at = min((entry.at for entry in story.came("released")), default=float("inf"))
    for deed in story.deeds:
        if deed.asked.at > gone_at and deed.came and deed.came.answer in KNOWN and deed.asked.act != "submit":
            yield Violation("not released", story.job, f"it was released, and is {deed.came.answer} again")
            return


def _repeats(story: Story, _: Limits) -> Found:
    """The same submit again is the same job, another one is refused."""
    taken = [deed for deed in story.asked("submit") if deed.came and deed.came.answer in KNOWN]
    texts = {deed.asked.text for deed in taken}
    if len(texts) > 1:
        yield Violation("two questions", story.job, f"submits of {sorted(texts)} were all taken under one id")
    since = min((deed.came.at for deed in taken if deed.came), default=float("inf"))
    for deed in story.asked("submit"):
        came = deed.came
        if deed.asked.text not in texts or came is None or came.phase != "fail":
            continue
        if since < deed.asked.at and came.at < story.release_at:
            yield Violation("repeat refused", story.job, f"a repeat got {came.code}")
            return


def _texts(story: Story, _: Limits) -> Found:
    """A result is that of its own job."""
    submits = [deed for deed in story.asked("submit") if not deed.came or deed.came.phase != "fail"]
    meant = {deed.asked.text for deed in submits}
    for entry in story.came("completed"):
        if meant and entry.text not in meant:
            yield Violation("wrong text", story.job, f"it said {entry.text!r} and was to say {sorted(meant)}")
            return


def _tries(story: Story, limits: Limits) -> Found:
    """Attempts are bounded."""
    tried = max((entry.attempts for entry in story.came(*ENDS)), default=0)
    if tried > limits.tries:
        yield Violation("attempts", story.job, f"{tried} attempts, {limits.tries} at most can be")
    if story.runs > limits.runs:
        yield Violation("attempts", story.job, f"it was begun {story.runs} times, {limits.runs} at most can be")


def _blame(stories: Iterable[Story], limits: Limits) -> Found:
    """Nothing fails without a reason."""
    blamed = []
    for story in stories:
        doomed = any(deed.asked.doomed for deed in story.asked("submit"))
        if doomed and story.came("completed"):
            yield Violation("unlawful end", story.job, "it kills its workers, and is completed")
        for code in {entry.code for entry in story.came("failed")}:
            if code in BLAMED and not doomed:
                blamed.append(story.job)
            elif code != "poison" and not (code == "cancelled" and story.asked("cancel")):
                yield Violation("unlawful end", story.job, f"failed with {code}, and there is no reason for that")
    if len(blamed) > limits.blamed:
        said = f"{len(blamed)} jobs that are well are to blame for deaths; what was done accounts for {limits.blamed}"
        yield Violation("unlawful end", " ".join(blamed[:5]), said)
