"""The name of a worker: ``default/0.17`` is the 17th worker of slot 0 of the pool ``default``."""

import msgspec


class Seat(msgspec.Struct, frozen=True, order=True):
    """A slot and a generation. ZMQ identity, log field and process title."""

    pool: str
    slot: int
    generation: int

    def __str__(self) -> str:
        return f"{self.pool}/{self.slot}.{self.generation}"

    @classmethod
    def parse(cls, name: str) -> "Seat | None":
        """The seat of that name, or None when it is no seat's name."""
        pool, slash, rest = name.rpartition("/")
        slot, dot, generation = rest.partition(".")
        if not (slash and dot and slot.isdecimal() and generation.isdecimal()):
            return None
        return cls(pool, int(slot), int(generation))
