"""pyannoteAI's service, played by a server on the loopback: what is sent where, and what each refusal means."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from asrd_protocol.messages import Speakers
from asrd_worker.engines.base import EngineFault, LoadError, settings_of
from asrd_worker.engines.diarize import Pyannote
from asrd_worker.recording import Decoded
from asrd_worker.speakers import cloud

KEY = "a-key-of-a-test"


class Played:
    """The service: what it was asked, and what it shall answer."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str | None]] = []
        """Method, path and key of each request."""
        self.order: dict[str, Any] = {}
        self.uploaded = b""
        self.refuse: dict[str, list[int]] = {}
        """Statuses to refuse a path with, one after another; 0 is an answer."""
        self.jobs = ["created", "running", "succeeded"]
        self.output: dict[str, Any] = {
            "diarization": [
                {"start": 1.0, "end": 2.0, "speaker": "SPEAKER_01"},
                {"start": 0.25, "end": 1.5, "speaker": "SPEAKER_07"},
            ]
        }
        handler = type("Handler", (_Handler,), {"played": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.place = f"{self.url}/bucket/place?signature=x"


class _Handler(BaseHTTPRequestHandler):
    played: Played

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a test's output is for the test."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.played.asked.append((self.command, self.path, self.headers.get("Authorization")))
        refusals = self.played.refuse.get(self.path)
        if refusals and (status := refusals.pop(0)):
            self._send(status, {})
            return
        match self.command, self.path:
            case "GET", "/v1/test":
                self._send(200, {"status": "OK"})
            case "POST", "/v1/media/input":
                assert json.loads(body)["url"].startswith("media://")
                self._send(201, {"url": self.played.place})
            case "PUT", "/bucket/place?signature=x":
                self.played.uploaded = body
                self._send(200, {})
            case "POST", "/v1/diarize":
                self.played.order = json.loads(body)
                self._send(200, {"jobId": "j1", "status": "created"})
            case "GET", "/v1/jobs/j1":
                status = self.played.jobs.pop(0) if len(self.played.jobs) > 1 else self.played.jobs[0]
                ended = status in ("succeeded", "failed")
                self._send(200, {"jobId": "j1", "status": status, **({"output": self.played.output} if ended else {})})
            case _:
                self._send(404, {})

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        if status == 302:
            self.send_header("Location", f"{self.played.url}/elsewhere")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Played]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv(cloud.KEY, KEY)
    monkeypatch.setattr(cloud.Service.__init__, "__defaults__", (cloud.URL, 0.01))
    played = Played()
    thread = threading.Thread(target=played.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield played
    played.server.shutdown()
    thread.join()
    played.server.server_close()


def _engine(service: Played, **settings: object) -> Pyannote:
    given = {"model": "pyannoteai:precision-2", "offline": False, "api_url": f"{service.url}/v1", **settings}
    engine = Pyannote(settings_of(Pyannote, given), "speakers/0.1")
    engine.load()
    engine.warm_up()
    return engine


def _listen(engine: Pyannote, options: Speakers | None = None) -> tuple[list[float], Any]:
    samples = np.linspace(-1, 1, 40_000, dtype=np.float32)
    listening = engine.diarize(Decoded(samples=samples, duration=2.5, warnings=[]), options or Speakers())
    seen: list[float] = []
    while True:
        try:
            seen.append(next(listening))
        except StopIteration as end:
            return seen, end.value


def test_a_job_from_the_upload_to_the_turns(service: Played) -> None:
    engine = _engine(service)
    seen, voices = _listen(engine, Speakers(min_speakers=2, max_speakers=4, embeddings=True))

    assert engine.canary() == "the key is good"
    assert [(turn.start, turn.end, turn.speaker) for turn in voices.diarization.turns] == [
        (0.25, 1.5, "SPEAKER_00"),
        (1.0, 2.0, "SPEAKER_01"),
    ]
    assert voices.diarization.embeddings == {}
    assert seen and seen[-1] <= 2.5
    assert {name: service.order[name] for name in ("model", "minSpeakers", "maxSpeakers")} == {
        "model": "precision-2",
        "minSpeakers": 2,
        "maxSpeakers": 4,
    }
    assert "numSpeakers" not in service.order
    assert service.uploaded[:4] == b"RIFF"
    pcm = np.frombuffer(service.uploaded[44:], "<i2")
    assert (pcm.size, pcm[0], pcm[-1]) == (40_000, -32_768, 32_767)
    assert np.abs(pcm[:-1] - np.linspace(-1, 1, 40_000)[:-1] * 32_768).max() < 0.51


def test_the_key_goes_to_the_service_alone(service: Played) -> None:
    _listen(_engine(service))

    keys = {path.split("?")[0]: key for _, path, key in service.asked}
    assert keys.pop("/bucket/place") is None
    assert set(keys.values()) == {f"Bearer {KEY}"}


def test_the_key_goes_along_no_redirect(service: Played) -> None:
    service.refuse["/v1/test"] = [302]
    with pytest.raises(EngineFault):
        _engine(service)

    assert [path for _, path, _ in service.asked] == ["/v1/test"]


@pytest.mark.parametrize(
    ("settings", "key", "said"),
    [
        ({"offline": True}, KEY, "that takes offline = false"),
        ({}, "", "set PYANNOTEAI_API_KEY in the pool's env"),
        ({"api_url": "http://service.example/v1"}, KEY, "the key would be sent in the clear"),
    ],
)
def test_what_is_refused_before_anything_is_sent(
    service: Played, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], key: str, said: str
) -> None:
    monkeypatch.setenv(cloud.KEY, key)
    with pytest.raises(LoadError, match=said):
        _engine(service, **settings)

    assert service.asked == []


def test_a_bad_key_is_told_without_being_shown(service: Played) -> None:
    service.refuse["/v1/test"] = [401]
    with pytest.raises(LoadError, match="does not accept the key in PYANNOTEAI_API_KEY") as raised:
        _engine(service)

    assert KEY not in str(raised.value)


def test_a_key_that_is_withdrawn_shows_at_the_next_canary(service: Played) -> None:
    engine = _engine(service)
    service.refuse["/v1/test"] = [403]
    with pytest.raises(LoadError, match="does not accept the key"):
        engine.canary()


@pytest.mark.parametrize(
    ("path", "statuses", "code"),
    [
        ("/v1/diarize", [429], "engine_unavailable"),
        ("/v1/diarize", [402], "engine_unavailable"),
        ("/v1/diarize", [400], "engine_error"),
        ("/v1/jobs/j1", [404], "engine_error"),
        ("/v1/jobs/j1", [503] * cloud.TRIES, "engine_unavailable"),
        ("/bucket/place?signature=x", [500], "engine_unavailable"),
    ],
)
def test_what_a_refusal_means(service: Played, path: str, statuses: list[int], code: str) -> None:
    engine = _engine(service)
    service.refuse[path] = statuses
    with pytest.raises(EngineFault) as raised:
        _listen(engine)

    assert raised.value.fault.code == code
    assert KEY not in raised.value.fault.message


def test_audio_is_not_sent_in_the_clear(service: Played) -> None:
    service.place = "http://bucket.example/place"
    with pytest.raises(EngineFault, match="in the clear"):
        _listen(_engine(service))


def test_a_hiccup_while_waiting_is_no_failure(service: Played) -> None:
    engine = _engine(service)
    most = [503] * (cloud.TRIES - 1)
    service.refuse["/v1/jobs/j1"] = [*most, 0, *most, 0]

    assert len(_listen(engine)[1].diarization.turns) == 2


def test_a_job_that_failed_there_says_why(service: Played) -> None:
    service.jobs, service.output = ["failed"], {"error": "the audio is damaged"}
    with pytest.raises(EngineFault, match="job failed: the audio is damaged"):
        _listen(_engine(service))


def test_a_service_that_is_not_there(service: Played) -> None:
    with pytest.raises(EngineFault, match="cannot be reached") as raised:
        _engine(service, api_url="http://127.0.0.1:9/v1")

    assert raised.value.fault.code == "engine_unavailable"


def test_a_cancelled_wait_ends(service: Played) -> None:
    service.jobs = ["running"]
    engine = _engine(service)
    samples = np.zeros(16_000, np.float32)
    listening = engine.diarize(Decoded(samples=samples, duration=1.0, warnings=[]), Speakers())
    next(listening)
    listening.close()  # or the test never ends

    assert not [thread for thread in threading.enumerate() if thread.name == "asrd-aside"]
