"""The thinnest path: a job in, its transcript out."""

import json
from collections.abc import Callable

from support.daemon import Daemon


def test_a_script_is_spoken(scripted: Callable[..., Daemon]) -> None:
    daemon = scripted()
    answer, body = daemon.wire().play({"do": "speak", "text": " hello"}, {"do": "speak", "text": " world"})
    assert answer["type"] == "completed"
    assert json.loads(body)["text"] == "hello world"
    assert daemon.stop() == 0
