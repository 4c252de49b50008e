"""cuBLAS: found where pip has put it, whatever the loader is told; and no worker is ready that cannot compute."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from asrd_worker.engines import cublas
from gpu import cards
from support.daemon import running

pytestmark = [
    pytest.mark.skipif(bool(cards.missing()), reason=cards.missing()),
    pytest.mark.model,
    pytest.mark.timeout(900),
]


def folder() -> Path:
    """Where the package has them; skips without it."""
    spec = importlib.util.find_spec("nvidia.cublas") if importlib.util.find_spec("nvidia") else None
    places = [Path(place) / "lib" for place in (spec.submodule_search_locations or [])] if spec else []
    found = next((place for place in places if (place / cublas.LIBRARIES[0]).is_file()), None)
    return found or pytest.skip("needs nvidia-cublas-cu12: pip install 'asrd[cuda12]'")


def nothing_told() -> dict[str, str]:
    """No directories for the loader; skips where it would not find the driver either."""
    if not cards.found("").gpus:
        pytest.skip("the driver itself is found by LD_LIBRARY_PATH only")
    return {"LD_LIBRARY_PATH": ""}  # as good as none


@pytest.mark.parametrize("told", [False, True], ids=["without LD_LIBRARY_PATH", "with what there is"])
def test_cublas_is_the_one_of_the_package(speech: Path, told: bool) -> None:
    place = folder().resolve()
    with running(config=cards.config(), environ={} if told else nothing_told()) as daemon:
        pid = cards.pid_of(daemon.ready(timeout=cards.READY_S))
        cards.transcribed(daemon, sorted(speech.glob("*.wav"))[0].read_bytes())
        loaded = cards.mapped(pid, "libcublas")

    assert {path.name for path in loaded} == set(cublas.LIBRARIES)
    assert {path.resolve().parent for path in loaded} == {place}


def test_without_it_no_worker_is_ever_ready(tmp_path: Path) -> None:
    """The model can be loaded without; that nothing can be computed shows at the first inference."""
    environ = {**os.environ, **nothing_told()}
    name = cublas.LIBRARIES[-1]
    command = [sys.executable, "-c", f"import ctypes; ctypes.CDLL({name!r})"]
    known = subprocess.run(command, env=environ, capture_output=True, check=False)
    if not known.returncode:
        pytest.skip("the loader of this machine finds a cuBLAS by itself")
    (tmp_path / "nvidia").mkdir()
    (tmp_path / "nvidia" / "__init__.py").touch()  # hides the package of that name
    places = os.pathsep.join(filter(None, [str(tmp_path), environ.get("PYTHONPATH")]))
    text = cards.config("[pools.default.env]", f'PYTHONPATH = "{places}"')
    with running(config=text, environ=nothing_told()) as daemon:
        assert daemon.process.wait(cards.READY_S) == 78
        log = daemon.log.read_text()

    assert "worker.ready" not in log
    assert name in log
    assert cublas.INSTALL in log
