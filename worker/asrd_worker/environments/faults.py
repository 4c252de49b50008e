"""What may be wrong with an environment for an engine. Each is one sentence for whoever typed the command."""


class Misasked(Exception):
    """The engine, the interpreter or the pool that was named makes no sense: ask differently."""


class InstallFailed(Exception):
    """The environment could not be made; nothing of it is installed."""
