"""Engines on torch talk a lot, and one of them talks to the internet: neither belongs in a worker.

``prepare`` has to come before their first import: they read the environment once.
"""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator

_LOGGERS = ("whisperx", "pyannote", "lightning.pytorch.utilities.migration.utils")
"""Lightning sets the level of its own ones when it is imported; that of the one that speaks stays."""


def prepare(*, offline: bool) -> None:
    """Set what these libraries read when they are imported: no measuring of users, no bars, no hub if offline."""
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.ERROR)
        if not logger.handlers:  # whisperX gives its own one, with all it has to say, to a logger without any
            logger.addHandler(logging.StreamHandler())
            logger.propagate = False
    # They warn of each other's versions, and of parts that nobody here uses.
    warnings.simplefilter("ignore")


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Meanwhile nothing that is printed gets out; what is raised does."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
