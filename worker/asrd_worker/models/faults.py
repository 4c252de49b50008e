"""What may be wrong with a model. All of them mean that it cannot be loaded."""

from asrd_worker.engines.base import LoadError


class NoSuchModel(LoadError):
    """The name, the path or the source is wrong: whoever asked has to ask differently."""


class Damaged(LoadError):
    """A file is missing, altered or was not there when the model was locked."""


class PullFailed(LoadError):
    """The model could not be brought here; nothing of it is installed."""
