"""How a daemon that somebody has started for himself is ended."""

import contextlib
import subprocess

STOP_WITHIN_S = 15.0


def stop(process: "subprocess.Popen[bytes]") -> None:
    """SIGTERM, once more to hurry, SIGKILL; at once SIGKILL when somebody is impatient."""
    try:
        for _ in range(2):
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_WITHIN_S)
                return
    finally:
        process.kill()
        process.wait()
