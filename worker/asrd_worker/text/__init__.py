"""What may be done to a transcript's text before it is sent: a chain of pure steps, chosen by the job.

A step looks at text and says what to change (:mod:`edits`); one place carries the changes over to the words, so that
no step can bring the two apart.
"""

from asrd_worker.text.chain import Chain
from asrd_worker.text.options import TextOptions, take

__all__ = ["Chain", "TextOptions", "take"]
