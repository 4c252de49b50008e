"""A model that is a service which is away: the worker says so as a fault that may pass, and leaves for a next try. It
is nobody's mistake and no defect, so there is no traceback in its log."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from asrd_protocol import link
from asrd_protocol.exits import Exit
from asrd_protocol.faults import Code
from support.bare_worker import BareWorker, working

KEY = "key-that-nobody-may-see"
MODEL = "pyannoteai:precision-2"


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[BareWorker]:
    """A worker that has a key, and has not been spoken to."""
    monkeypatch.setenv("PYANNOTEAI_API_KEY", KEY)
    with working() as worker:
        yield worker


@contextmanager
def answering(*answers: int | None) -> Iterator[str]:
    """A service on the loopback that answers with these, the last one again and again; None hangs up. Its address."""
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = left.pop(0) if len(left) > 1 else left[0]
            if status is None:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join(10)


@contextmanager
def nobody() -> Iterator[str]:
    """An address where nobody listens."""
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        port = server.server_port
    yield f"http://127.0.0.1:{port}/v1"


def left(worker: BareWorker, answer: link.FromWorker) -> link.LoadFailed:
    """It has said why, and nothing more, and has left for another try."""
    assert isinstance(answer, link.LoadFailed), answer
    assert worker.leaves() == (Exit.FAILED, [])
    assert "Traceback" not in worker.log
    assert KEY not in worker.log + answer.fault.message
    return answer


@pytest.mark.parametrize(
    "service",
    [
        nobody,
        lambda: answering(503),
        lambda: answering(429),
        lambda: answering(None),
        lambda: answering(200, 503),
        lambda: answering(200, None),
    ],
    ids=["nobody", "no room", "too many", "hangs up", "no room any more", "hangs up later"],
)
def test_a_service_that_is_away_may_be_there_again(worker: BareWorker, service: Callable[[], Any]) -> None:
    """At the load, or just after it, when the clip is to be heard."""
    with service() as url:
        answer = worker.load("diarize", model=MODEL, offline=False, api_url=url)
    fault = left(worker, answer).fault
    assert (fault.code, fault.retry, fault.retry_after) == (Code.ENGINE_UNAVAILABLE, True, 30.0)
    assert "pyannoteAI's service" in fault.message


def test_a_key_that_is_not_good_is_no_use_trying(worker: BareWorker) -> None:
    with answering(401) as url:
        answer = worker.load("diarize", model=MODEL, offline=False, api_url=url)
    assert isinstance(answer, link.LoadFailed)
    assert worker.leaves() == (Exit.CONFIG, [])
    assert answer.fault.code is Code.MODEL_UNAVAILABLE
    assert KEY not in worker.log + answer.fault.message


def test_a_service_that_is_there_makes_it_ready(worker: BareWorker) -> None:
    """So it is the service that the others fail for."""
    with answering(200) as url:
        worker.ready("diarize", model=MODEL, offline=False, api_url=url)


@pytest.mark.parametrize("stage", ["at_load", "at_warm_up", "canary"])
@pytest.mark.parametrize("code", [Code.ENGINE_UNAVAILABLE, Code.ENGINE_ERROR, Code.OUT_OF_MEMORY])
def test_so_does_any_engine_that_has_a_fault_before_it_is_ready(worker: BareWorker, stage: str, code: Code) -> None:
    settings: dict[str, Any] = {stage: [{"do": "fail", "code": str(code), "message": "it is away"}]}
    fault = left(worker, worker.load(**settings)).fault
    assert (fault.code, fault.message) == (code, "it is away")


def test_a_defect_still_shows_its_traceback(worker: BareWorker) -> None:
    assert isinstance(worker.hears().message, link.Hello)
    worker.say(link.Load("scripted", {"at_load": [{"do": "fail", "message": "a defect"}]}, 60.0))
    code, said = worker.leaves()
    assert (code, said) == (Exit.FAILED, [])
    assert "a defect" in worker.log
    assert "Traceback" in worker.log
