"""pyannoteAI's service: the audio is uploaded, a job is asked for, and its result fetched when it is there.

The library's own client waits without a limit and without a word; this one has a time limit for each request, says how
far it is, and can be stopped. The key stands in the environment and is sent to the service alone: not to the place
where the audio is uploaded to, and not along a redirect.
"""

import http.client
import secrets
import struct
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np

from asrd_protocol.faults import Code, Fault
from asrd_protocol.messages import Speakers
from asrd_worker.engines.base import EngineFault, LoadError
from asrd_worker.recording import SAMPLE_RATE, Samples
from asrd_worker.speakers.aside import Report
from asrd_worker.speakers.found import Found, Spoken

URL = "https://api.pyannote.ai/v1"
KEY = "PYANNOTEAI_API_KEY"
"""The variable with the key."""

TIMEOUT_S = 60.0
"""For each answer, and for each piece that is sent."""

POLL_S = 2.0
TRIES = 5
"""In a row, for a question that can be repeated."""

_BLOCK = SAMPLE_RATE * 30
_UPLOADED = 0.2
"""How far a job is when its audio is there, as a share."""

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class _Turn(msgspec.Struct, frozen=True):
    start: float
    end: float
    speaker: str


class _Output(msgspec.Struct, frozen=True):
    diarization: list[_Turn] = []
    error: str = ""


class _Job(msgspec.Struct, frozen=True):
    status: str
    output: _Output | None = None


class _Accepted(msgspec.Struct, frozen=True, rename="camel"):
    job_id: str


class _Place(msgspec.Struct, frozen=True):
    url: str


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The key would go along."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Service:
    """One model of the service, with a key."""

    def __init__(self, model: str, key: str, url: str = URL, poll_s: float = POLL_S) -> None:
        """Remember; nothing is asked yet.

        Raises:
            LoadError: there is no key, or the address would send it in the clear.
        """
        if not key:
            raise LoadError(f"pyannoteAI's service needs a key: set {KEY} in the pool's env")
        if not _private(url):
            raise LoadError(f"api_url {url!r} is not https: the key would be sent in the clear")
        self._model = model
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._url = url.rstrip("/")
        self._poll_s = poll_s
        self._open = urllib.request.build_opener(_NoRedirects).open

    def check(self) -> None:
        """Ask whether the key is good. It costs nothing.

        Raises:
            LoadError: it is not.
            EngineFault: the service cannot be reached.
        """
        try:
            self._ask("GET", "/test")
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                raise LoadError(f"pyannoteAI's service does not accept the key in {KEY}") from None
            raise _fault(error) from None

    def listen(self, samples: Samples, wanted: Speakers, report: Report) -> Found:
        """Who speaks when. The service tells no voices.

        Raises:
            EngineFault: the service cannot be reached, or did not do it.
            Stopped: nobody wants the result any more; a job of the service then goes on for itself.
        """
        duration = samples.size / SAMPLE_RATE
        try:
            media = f"media://asrd/{secrets.token_hex(16)}.wav"
            place = _read(self._ask("POST", "/media/input", {"url": media}), _Place)
            if not _private(place.url):
                raise EngineFault(Fault.of(Code.ENGINE_ERROR, "pyannoteAI's service wants the audio sent in the clear"))
            self._upload(place.url, samples, report)
            accepted = _read(self._ask("POST", "/diarize", self._order(media, wanted)), _Accepted)
            job = self._result(accepted.job_id, _UPLOADED * duration, report)
        except urllib.error.HTTPError as error:
            raise _fault(error) from None
        return Found([Spoken(turn.start, turn.end, turn.speaker) for turn in job.diarization], {})

    def _order(self, media: str, wanted: Speakers) -> dict[str, object]:
        limits = {
            "numSpeakers": wanted.num_speakers,
            "minSpeakers": wanted.min_speakers,
            "maxSpeakers": wanted.max_speakers,
        }
        return {"url": media, "model": self._model} | {name: n for name, n in limits.items() if n is not None}

    def _upload(self, url: str, samples: Samples, report: Report) -> None:
        length = str(44 + 2 * samples.size)
        headers = {"Content-Length": length, "Content-Type": "application/octet-stream"}
        request = urllib.request.Request(url, _wav(samples, report), headers, method="PUT")
        self._send(request)

    def _result(self, job_id: str, done: float, report: Report) -> _Output:
        """Ask until there is one; each answer is a word of progress, though not of more that is done."""
        failed = 0
        while True:
            report(done)
            try:
                job = _read(self._ask("GET", f"/jobs/{job_id}"), _Job)
                failed = 0
            except (urllib.error.HTTPError, EngineFault) as error:
                failed += 1
                if failed == TRIES or (isinstance(error, urllib.error.HTTPError) and not _passing(error.code)):
                    raise
                report.pause(self._poll_s * 2**failed)
                continue
            output = job.output or _Output()
            if job.status == "succeeded":
                return output
            if job.status in ("failed", "canceled"):
                said = output.error or "no reason is given"
                raise EngineFault(Fault.of(Code.ENGINE_ERROR, f"pyannoteAI's service: job {job.status}: {said}"))
            report.pause(self._poll_s)

    def _ask(self, method: str, route: str, body: dict[str, object] | None = None) -> bytes:
        data = None if body is None else msgspec.json.encode(body)
        return self._send(urllib.request.Request(self._url + route, data, self._headers, method=method))

    def _send(self, request: urllib.request.Request) -> bytes:
        """The answer's body.

        Raises:
            HTTPError: the service refuses.
            EngineFault: it cannot be reached.
        """
        try:
            with self._open(request, timeout=TIMEOUT_S) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            error.close()  # it holds the connection
            raise
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error) or type(error).__name__
            raise _unreachable(f"cannot be reached ({reason})") from None


def _private(url: str) -> bool:
    """Whether nobody on the way can read what is sent there."""
    address = urlsplit(url)
    return address.scheme == "https" or address.hostname in _LOOPBACK


def _wav(samples: Samples, report: Report) -> Iterator[bytes]:
    """The samples as a WAV file of int16, a block at a time."""
    size = 2 * samples.size
    yield struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", min(36 + size, 0xFFFF_FFFF), b"WAVE", b"fmt ", 16, 1, 1,
                      SAMPLE_RATE, 2 * SAMPLE_RATE, 2, 16, b"data", min(size, 0xFFFF_FFFF))  # fmt: skip
    for start in range(0, samples.size, _BLOCK):
        report(_UPLOADED * start / SAMPLE_RATE)
        block = np.clip(samples[start : start + _BLOCK] * 32_768, -32_768, 32_767)
        yield block.round().astype("<i2").tobytes()


def _read(body: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise EngineFault(
            Fault.of(Code.ENGINE_ERROR, f"pyannoteAI's service gave an answer of another form ({error})")
        ) from None


def _passing(status: int) -> bool:
    """Whether a refusal may pass by itself."""
    return status == 429 or status >= 500


def _fault(error: urllib.error.HTTPError) -> EngineFault:
    """What a refusal means for the step."""
    if _passing(error.code):
        return _unreachable(f"has no room now (status {error.code})")
    if error.code in (401, 402, 403):
        said = f"refuses (status {error.code}): look after the key in {KEY}, and what is paid for"
        return EngineFault(Fault.of(Code.ENGINE_UNAVAILABLE, f"pyannoteAI's service {said}"))
    return EngineFault(Fault.of(Code.ENGINE_ERROR, f"pyannoteAI's service refuses the job (status {error.code})"))


def _unreachable(said: str) -> EngineFault:
    return EngineFault(Fault.of(Code.ENGINE_UNAVAILABLE, f"pyannoteAI's service {said}", retry_after=30.0))
