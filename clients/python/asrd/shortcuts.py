"""``asrd.submit`` and ``asrd.transcribe``: a client that needs no mention."""

import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from asrd.remote import Remote
from asrd.sync import Client
from asrd_protocol.addresses import daemon_dir

P = ParamSpec("P")
R = TypeVar("R")


@functools.cache
def _shared(place: Path | Remote, pid: int) -> Client:
    """One client for each daemon and process; a fork makes its own."""
    return Client(place)


def _of_everybody(method: Callable[Concatenate[Client, P], R]) -> Callable[P, R]:
    """The method of a client for the daemon that everybody finds by default."""

    @functools.wraps(method)
    def called(*args: P.args, **parameters: P.kwargs) -> R:
        return method(_shared(Remote.from_environ() or daemon_dir(), os.getpid()), *args, **parameters)

    _, *shared = inspect.signature(method).parameters.values()
    called.__dict__["__signature__"] = inspect.signature(method).replace(parameters=shared)
    return called


submit = _of_everybody(Client.submit)
transcribe = _of_everybody(Client.transcribe)
