"""``python -P -m asrd_worker``: started by the supervisor, with the name of its seat and the address of the link."""

import argparse
import os
import sys

from asrd_protocol.exits import Exit
from asrd_worker.tie import tie

_OLDEST = (3, 11)
_INSTALLED_AS = {"zmq": "pyzmq"}


def main() -> Exit:
    """Work until told to leave."""
    parser = argparse.ArgumentParser(prog="asrd_worker", description="A worker of asrd; the supervisor starts it.")
    parser.add_argument("--seat", required=True)
    parser.add_argument("--link", required=True)
    parser.add_argument("--parent", required=True, type=int)
    parser.add_argument("--door", required=True, type=int, help="descriptor of the socket that files come by")
    options = parser.parse_args()
    tie(options.parent, f"asrd:{options.seat}")
    if sys.version_info < _OLDEST:
        return _unfit("is Python {}.{}, and workers need {}.{} at least".format(*sys.version_info[:2], *_OLDEST))
    try:
        import asrd_worker.loop  # noqa: F401 - and with it everything that another environment may lack
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if missing.startswith("asrd"):
            raise
        return _unfit(f"cannot import {_INSTALLED_AS.get(missing, missing) or 'a library'} ({error})")
    return _work(options)


def _unfit(what: str) -> Exit:
    """Say to the supervisor, which cannot be spoken to in any other way, why this interpreter is no use."""
    sys.stderr.write(f"asrd: {sys.executable} {what}\n")
    return Exit.CONFIG


def _work(options: argparse.Namespace) -> Exit:
    """Everything that takes time to import is imported after the worker is tied."""
    import zmq

    from asrd_worker import leash
    from asrd_worker.blob import Door
    from asrd_worker.loop import Worker

    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    link = context.socket(zmq.DEALER)
    link.setsockopt(zmq.IDENTITY, options.seat.encode())
    link.setsockopt(zmq.LINGER, 2_000)
    link.connect(options.link)
    leash.watch(options.parent, link)
    code = Worker(link, Door(options.door), options.seat, os.getpid()).run()
    link.disable_monitor()
    link.close()
    context.term()  # waits until the last message has left
    return code


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # The native libraries' exit handlers can wait for each other for ever; nothing is left to be done by them.
    os._exit(code)
