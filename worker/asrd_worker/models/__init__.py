"""Models: where they are, what they have to be, and how they come here."""

from asrd_worker.models.check import checked
from asrd_worker.models.resolve import bundled_directory, resolve, verified, weights

__all__ = ["bundled_directory", "checked", "resolve", "verified", "weights"]
