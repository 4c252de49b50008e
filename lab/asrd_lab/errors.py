"""What ends a run of the lab before its time: one sentence and an exit code."""

from asrd.errors import AsrdError
from asrd_protocol.exits import Exit


class LabError(AsrdError):
    """The run cannot begin or go on."""

    def __init__(self, sentence: str, code: Exit = Exit.FAILED) -> None:
        super().__init__(sentence)
        self.code = code
