"""The configuration: one TOML file, decoded into frozen structs whose field docstrings are the reference manual."""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from asrd_protocol import mistakes
from asrd_protocol.codec import did_you_mean
from asrd_supervisor.core.policy import (
    CanaryPolicy,
    ChunkTime,
    Deadlines,
    DriftPolicy,
    Duration,
    IdleTime,
    PositiveDuration,
    PositiveSize,
    QueuePolicy,
    RecyclePolicy,
    RestartPolicy,
    RetryPolicy,
    Size,
)
from asrd_supervisor.quantities import quantity

ComputeType = Literal[
    "default",
    "auto",
    "int8",
    "int8_float16",
    "int8_bfloat16",
    "int8_float32",
    "int16",
    "float16",
    "bfloat16",
    "float32",
]


GpuIndex = Annotated[int, Meta(ge=0, le=63)]


class ConfigError(Exception):
    """One sentence on what is wrong in the configuration, with the path of the key."""


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class SplitConfig(_Table, frozen=True, kw_only=True):
    """How long audio is shared by the workers of a pool: it is cut at silences, into chunks that are jobs' steps."""

    longer_than: Duration = Duration(180)
    """Audio of so many seconds or less is transcribed by one worker at a stretch; 0: all audio is."""
    chunk: ChunkTime = ChunkTime(120)
    """About the length of a chunk, 10 s at least. What has to be done again after a death is one chunk at most."""


class PoolConfig(_Table, frozen=True, kw_only=True):
    """One pool: workers that are all alike."""

    engine: str = "faster-whisper"
    """One of asrd's own (``asrd engines list``), or one registered under the entry points ``asrd.engines`` of the
    workers' environment. One whose name begins with ``diarize``
    tells speakers apart, for jobs of the other pools."""
    model: str = "tiny.en"
    """A directory, or a name that the engine resolves: the bundled model first, then the hub's cache."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto``: GPUs if the driver has any that work, else the CPU. The log says which and why."""
    device_index: GpuIndex | Annotated[list[GpuIndex], Meta(min_length=1)] | Literal["auto"] = "auto"
    """Which GPU; or several, as in ``[0, 2]``; ``auto`` for all that there are. Each worker is placed on one of them:
    where there are the fewest workers, then where the most memory is free."""
    fallback: Literal["", "int8", "cpu"] | list[Literal["int8", "cpu"]] = ""
    """What a pool does instead of failing when no worker can be started on a GPU any more, or two tries within an hour,
    of one job or of two, have found no memory there for a single window: ``int8`` computes in that, ``cpu`` goes on on
    the CPU, ``["int8", "cpu"]`` tries the one and then the other. It stays so until an operator reloads the pool."""
    compute_type: ComputeType = "default"
    """As in CTranslate2. ``default`` is int8 on a CPU and float16 on a GPU. A CPU does not compute in float16, bfloat16
    or their mixtures with int8: refused with ``device = "cpu"``, int8 instead where ``auto`` came out as the CPU."""
    workers: Annotated[int, Meta(ge=1, le=256)] | Literal["auto"] = "auto"
    """How many. ``auto``: one for each core on a CPU as far as memory holds them, one for each GPU."""
    threads: Annotated[int, Meta(ge=0, le=32)] = 0
    """Threads of each worker; 0 for cores divided by workers."""
    python: str = ""
    """The interpreter of the workers, so that a pool may live in another virtual environment; empty: the daemon's."""
    allocator: Literal["throughput", "compact", "default"] = "throughput"
    """How workers use malloc. ``throughput`` keeps freed memory at hand (about 1.25 times the speed on a CPU for 40 MB
    more), ``compact`` gives it back, ``default`` leaves glibc alone."""
    offline: bool = True
    """Whether models come from directories and caches only. The daemon downloads nothing unless told so."""
    idle_ttl: IdleTime = IdleTime(-1)
    """After so long without a job the workers leave and free their memory; the next job starts them, and waits for
    that. 0: when the queue is empty (a second later); -1: never."""
    env: dict[str, str] = {}
    """Environment variables of the workers, over the daemon's own settings."""
    options: dict[str, Any] = {}
    """Further settings of the engine; checked by the engine itself."""
    split: SplitConfig = SplitConfig()
    recycle: RecyclePolicy = RecyclePolicy()
    drift: DriftPolicy = DriftPolicy()
    canary: CanaryPolicy = CanaryPolicy()
    deadlines: Deadlines = Deadlines()
    restarts: RestartPolicy = RestartPolicy()
    retries: RetryPolicy | None = None
    """How often a job of this pool is tried. The table takes the place of the daemon's own ``retries`` as a whole."""


class AudioLimits(_Table, frozen=True, kw_only=True):
    """What a client may send."""

    max_s: PositiveDuration = PositiveDuration(4 * 3600)
    """The longest audio of a job, enforced while decoding: a small file can hold days."""
    max_body: PositiveSize = PositiveSize(256 << 20)
    """The largest body in bytes."""


class JournalConfig(_Table, frozen=True, kw_only=True):
    """Where jobs are kept that the daemon has accepted, and how well."""

    durability: Literal["full", "process", "none"] = "full"
    """What an accepted job survives. ``full``: the death of the host. ``process``: the death of the daemon; no write
    waits for the disk. ``none``: nothing; whatever has not ended when the daemon leaves fails."""
    ballast: Size = Size(16 << 20)
    """Bytes of disk that are held back, so that jobs can still end when the disk is full."""


class ResultPolicy(_Table, frozen=True, kw_only=True):
    """How long the result of a job can be fetched when nobody releases it."""

    ttl: PositiveDuration = PositiveDuration(24 * 3600)
    """How long after its end a job is known. Until then nothing takes its result away but a release."""
    max_bytes: PositiveSize = PositiveSize(1 << 30)
    """Their transcripts in all, and the audio of failed jobs that may be tried again. When there are more, new jobs are
    refused until some are released or have expired."""
    max_jobs: Annotated[int, Meta(ge=1)] = 100_000
    """How many at most; the same when there are more."""


class ListenConfig(_Table, frozen=True, kw_only=True):
    """Sockets for other hosts, beside those in the runtime directory. Only clients whose key is known get in."""

    jobs: Annotated[str, Meta(pattern=r"^(tcp://.+:[0-9]+)?$")] = ""
    """Where jobs are taken, as in ``tcp://0.0.0.0:7788``."""
    control: Annotated[str, Meta(pattern=r"^(tcp://.+:[0-9]+)?$")] = ""
    """Where questions and commands of operators are taken."""
    keys: str = ""
    """The directory of the keys: ``server.key_secret``, and ``clients/`` with the public key of each client."""


class AccessConfig(_Table, frozen=True, kw_only=True):
    """Who may use the sockets, besides root and the daemon's own user. Both empty: whoever can open them."""

    uids: list[Annotated[int, Meta(ge=0)]] = []
    """Users of the host, by number."""
    gids: list[Annotated[int, Meta(ge=0)]] = []
    """Groups of the host, by number; a user's supplementary groups count."""
    operators: list[Annotated[int, Meta(ge=0)] | str] = []
    """Who may stop, drain and recycle, besides root and the daemon's own user: users by number, or public keys of
    clients on other hosts."""
    allowed_roots: list[str] = msgspec.field(default_factory=lambda: ["/"])
    """Directories beneath which jobs may name their audio by path. The caller must have the right to read the file, in
    any case; empty: no job may name a path."""


class LogConfig(_Table, frozen=True, kw_only=True):
    """What the daemon writes to stderr."""

    format: Literal["auto", "console", "json", "journal"] = "auto"
    """``auto``: console on a terminal, JSON otherwise."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is written. Job ends and worker lives are ``info``."""


class Config(_Table, frozen=True, kw_only=True):
    """What is not in a table of its own."""

    pools: dict[str, PoolConfig] = msgspec.field(default_factory=lambda: {"default": PoolConfig()})
    """One table for each pool, by its name."""
    default_pool: str = ""
    """Which pool a job goes to that names none; empty for the first one."""
    models_dir: str = ""
    """Where workers look for models by name; empty: ``$ASRD_MODELS_DIR`` of the daemon's environment, else ``models``
    in its state directory. ``asrd models`` does not read this file: give it ``--models-dir``, or the variable."""
    queue: QueuePolicy = QueuePolicy()
    retries: RetryPolicy = RetryPolicy()
    audio: AudioLimits = AudioLimits()
    journal: JournalConfig = JournalConfig()
    results: ResultPolicy = ResultPolicy()
    access: AccessConfig = AccessConfig()
    listen: ListenConfig = ListenConfig()
    log: LogConfig = LogConfig()
    drain_timeout: Duration = Duration(60)
    """How long a stop waits for jobs that run; without a journal, for all accepted ones."""


def load(path: Path | None) -> Config:
    """Read a file, or take the defaults.

    Raises:
        ConfigError: naming the file, the key, what was expected and what was found.
    """
    if path is None:
        return Config()
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: brackets are nested too deeply") from None
    try:
        return decode(data)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def decode(data: dict[str, Any]) -> Config:
    """A configuration from the tables of a TOML file.

    Raises:
        ConfigError: naming the key, what was expected and what was found.
    """
    tables = data.get("pools", {})
    if not isinstance(tables, dict) or not all(isinstance(t, dict) for t in tables.values()):
        raise ConfigError("pools: expected one table for each pool, as in [pools.default]")
    pools = {name: _convert(table, PoolConfig, f"pools.{name}") for name, table in tables.items()}
    for name, pool in pools.items():
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", name):
            raise ConfigError(f"pools.{name}: a pool's name has 1 to 32 letters, digits, '-' or '_'")
        _check_handed_over(pool, f"pools.{name}")
        _check_limits(pool.recycle, f"pools.{name}.recycle")
    config: Config = _convert({**data, "pools": {}}, Config, "")
    config = msgspec.structs.replace(config, pools=pools or Config().pools)
    if config.default_pool and config.default_pool not in config.pools:
        hint = did_you_mean(config.default_pool, config.pools)
        raise ConfigError(f"default_pool: there is no pool {config.default_pool!r}{hint}")
    return config


CHANGEABLE = ("compute_type", "model", "offline", "threads")
"""What can be set while a pool runs, and ``options.NAME``: what an engine is told when it loads."""


def changed(pool: PoolConfig, path: str, settings: dict[str, Any]) -> PoolConfig:
    """A pool with other settings of its engine; ``settings`` has keys of a pool's table, and ``options.NAME``.

    Raises:
        ConfigError: naming the key, what was expected and what was found.
    """
    plain, options = {}, dict(pool.options)
    for key, value in settings.items():
        table, dot, name = key.partition(".")
        if table == "options" and name:
            options[name] = value
        elif not dot and key in CHANGEABLE:
            plain[key] = value
        else:
            able = ", ".join((*CHANGEABLE, "options.NAME"))
            hint = did_you_mean(key, CHANGEABLE)
            raise ConfigError(f"{path}.{key}: cannot be set while the pool runs; these can: {able}{hint}")
    fresh: PoolConfig = _convert(plain, PoolConfig, path)
    made = msgspec.structs.replace(pool, **{key: getattr(fresh, key) for key in plain}, options=options)
    _check_handed_over(made, path)
    return made


def _check_limits(policy: RecyclePolicy, path: str) -> None:
    """A worker cannot be replaced for its memory after it was killed for it."""
    if 0 < policy.kill_rss < policy.max_rss:
        raise ConfigError(f"{path}.kill_rss: expected at least max_rss ({policy.max_rss}), got {policy.kill_rss}")


def _check_handed_over(pool: PoolConfig, path: str) -> None:
    """What the operating system and the link to the workers could not take, although TOML can write it."""
    for name, value in pool.env.items():
        if not name or "=" in name or "\0" in name + value:
            raise ConfigError(
                f"{path}.env: expected names without '=' and no zero bytes, got {mistakes.shown({name: value})}"
            )
    if "\0" in pool.python:
        raise ConfigError(f"{path}.python: expected a path, got {mistakes.shown(pool.python)}")
    try:
        msgspec.msgpack.encode(pool.options)
    except (OverflowError, TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}.options: cannot be sent to a worker ({error})") from None


def _convert(data: dict[str, Any], kind: type[Any], prefix: str) -> Any:
    try:
        return msgspec.convert(data, kind, dec_hook=quantity)
    except msgspec.ValidationError as error:
        mistake = mistakes.find(error, data, kind)
        path = ".".join(filter(None, [prefix, mistake.path]))
        raise ConfigError(f"{path}: {mistake.said or 'there is no such key'}{mistake.hint}") from None
