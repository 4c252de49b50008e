"""The unit files, judged by systemd's own tools: they are good, they are tight, and they agree with the code."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from asrd_protocol.exits import Exit
from asrd_supervisor.config import Config
from asrd_supervisor.pulse import BEAT

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
UNIT = (FOLDER / "asrd.service").read_text()
GPU = (FOLDER / "asrd-gpu.conf").read_text()
PLAIN = "[Service]\nType=notify\nUser=asrd\nExecStart=/usr/bin/asrd serve\n"

USED = """
    accept4 access arch_prctl bind brk chdir chmod clock_gettime clone close close_range connect dup2 epoll_create1
    epoll_ctl epoll_pwait epoll_wait eventfd2 execve exit exit_group fchmod fcntl fdatasync flock fstat ftruncate futex
    getcwd getdents64 geteuid getpeername getpid getppid getrandom getsockname getsockopt gettid ioctl kill link listen
    lseek lstat madvise mbind mkdir mmap mprotect munmap newfstatat open openat pidfd_open pidfd_send_signal pipe2 poll
    prctl pread64 prlimit64 pwrite64 read readlink recvfrom restart_syscall rmdir rseq rt_sigaction rt_sigprocmask
    rt_sigreturn sched_getaffinity sched_getparam sched_getscheduler sched_setaffinity sched_setscheduler sendto
    set_mempolicy set_robust_list set_tid_address setpgid setsid sigaltstack socket socketpair stat statx sysinfo uname
    unlink unlinkat vfork wait4 write
"""
"""What strace saw of daemon, janitor and workers with the real model, and what pins threads on larger machines."""

REFUSED = """
    add_key bpf chown chroot clock_settime delete_module fchown finit_module init_module io_uring_enter io_uring_setup
    kexec_load keyctl mount open_by_handle_at perf_event_open pivot_root process_vm_readv process_vm_writev ptrace
    reboot setuid swapon umount2 userfaultfd
"""
"""What a worker that was taken over would like to call."""


def tool(name: str) -> str:
    """A program of systemd. Where there is none the test is skipped, but not in CI."""
    if path := shutil.which(name):
        return path
    if os.environ.get("CI") == "true":
        pytest.fail(f"{name} is not installed; CI needs Debian's package systemd")
    pytest.skip(f"{name} is not installed")


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    """Run a command; its two streams come together, in English."""
    environ = {**os.environ, "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0"}
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, env=environ, check=False
    )


def settings(text: str) -> dict[str, list[str]]:
    """The assignments of a unit file, of all sections together."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line and line[0] not in "#;[":
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def seconds(key: str) -> int:
    """A time of the unit."""
    (value,) = settings(UNIT)[key]
    return int(value)


def rendered(directory: Path, unit: str = UNIT, drop_in: str | None = None) -> Path:
    """The unit as a file whose program exists, with a drop-in beside it."""
    path = directory / "asrd.service"
    path.write_text(unit.replace("=/usr/bin/asrd ", f"={sys.executable} "))
    if drop_in is not None:
        (directory / "asrd.service.d").mkdir()
        (directory / "asrd.service.d" / "gpu.conf").write_text(drop_in)
    return path


def complaints(unit: Path) -> list[str]:
    """What ``systemd-analyze verify`` says about this unit. Of most mistakes it only warns, with exit code 0."""
    done = run(tool("systemd-analyze"), "verify", "--man=no", str(unit))
    about = [line for line in done.stdout.splitlines() if "asrd.service" in line]
    return about or ([] if done.returncode == 0 else [done.stdout])


def exposure(unit: Path) -> float:
    """The exposure of this unit by ``systemd-analyze security``, from 0 to 10."""
    done = run(tool("systemd-analyze"), "security", "--offline=true", "--no-pager", str(unit))
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stdout
    return float(found[1])


@pytest.mark.parametrize("drop_in", [None, GPU], ids=["plain", "gpu"])
def test_systemd_has_nothing_to_say_against_the_unit(tmp_path: Path, drop_in: str | None) -> None:
    assert complaints(rendered(tmp_path, drop_in=drop_in)) == []


@pytest.mark.parametrize(
    "mistake", ["ProtectSytem=strict", "KillMode=mixd", "DeviceAllow=nvidia rw", "SystemCallFilter=~@resource"]
)
def test_a_mistake_in_the_unit_would_be_seen(tmp_path: Path, mistake: str) -> None:
    assert complaints(rendered(tmp_path, drop_in=f"[Service]\n{mistake}\n"))


def test_a_missing_program_would_be_seen(tmp_path: Path) -> None:
    unit = rendered(tmp_path)
    unit.write_text(UNIT.replace("/usr/bin/asrd", str(tmp_path / "asrd")))
    assert complaints(unit)


def test_the_unit_is_exposed_by_at_most_0_6(tmp_path: Path) -> None:
    # The threshold is in tenths.
    unit = rendered(tmp_path)
    done = run(tool("systemd-analyze"), "security", "--offline=true", "--no-pager", "--threshold=6", str(unit))
    assert done.returncode == 0, done.stdout
    assert 0 < exposure(unit) <= 0.6


def test_the_unit_for_a_gpu_is_exposed_by_at_most_0_8(tmp_path: Path) -> None:
    assert 0 < exposure(rendered(tmp_path, drop_in=GPU)) <= 0.8


def test_a_unit_with_nothing_but_a_user_is_over_the_threshold(tmp_path: Path) -> None:
    unit = rendered(tmp_path, unit=PLAIN)
    done = run(tool("systemd-analyze"), "security", "--offline=true", "--no-pager", "--threshold=6", str(unit))
    assert done.returncode != 0
    assert exposure(unit) > 5


def test_what_daemon_and_workers_call_passes_the_filter() -> None:
    allowed = allowed_calls()
    assert [call for call in USED.split() if call not in allowed] == []
    assert [call for call in REFUSED.split() if call in allowed] == []


def allowed_calls() -> set[str]:
    """What the unit's lines of ``SystemCallFilter=`` let through."""
    groups = call_groups()
    allowed = expanded("@default", groups)
    for line in settings(UNIT)["SystemCallFilter"]:
        named: set[str] = set().union(*(expanded(name, groups) for name in line.removeprefix("~").split()))
        allowed = allowed - named if line.startswith("~") else allowed | named
    return allowed


def call_groups() -> dict[str, list[str]]:
    """The named groups of system calls of this systemd."""
    groups: dict[str, list[str]] = {}
    name = ""
    for line in run(tool("systemd-analyze"), "syscall-filter").stdout.splitlines():
        if line.startswith("@"):
            name = line.strip()
        elif line.startswith(" ") and not line.strip().startswith("#"):
            groups.setdefault(name, []).append(line.strip())
    return groups


def expanded(name: str, groups: dict[str, list[str]]) -> set[str]:
    """A call, or the calls of a group and of the groups in it."""
    return set().union(*(expanded(each, groups) for each in groups[name])) if name.startswith("@") else {name}


def test_the_unit_agrees_with_the_daemon() -> None:
    unit = settings(UNIT)
    assert unit["RestartPreventExitStatus"] == [str(int(Exit.CONFIG))]
    assert unit["Type"] == ["notify"]
    assert seconds("WatchdogSec") / 2 > 10 * BEAT
    assert seconds("TimeoutStopSec") >= float(Config().drain_timeout) + 30
    # All starts that the limit allows fit into its period; or else it would never be reached.
    assert seconds("StartLimitBurst") * seconds("RestartSec") < seconds("StartLimitIntervalSec")


def test_the_daemon_takes_the_options_that_the_unit_gives(tmp_path: Path) -> None:
    (start,) = settings(UNIT)["ExecStart"]
    program, command, *options = start.split()
    assert (program, command) == ("/usr/bin/asrd", "serve")
    config = tmp_path / "asrd.toml"
    config.write_text("")
    there = [str(config) if option == "/etc/asrd/asrd.toml" else option for option in options]
    assert str(config) in there
    done = run(sys.executable, "-P", "-m", "asrd_supervisor", "config", "check", *there)
    assert done.returncode == 0, done.stdout


def test_user_and_group_of_the_unit_are_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    done = run(tool("systemd-sysusers"), f"--root={tmp_path}", str(FOLDER / "asrd.sysusers.conf"))
    if done.returncode != 0 and os.geteuid() != 0:
        pytest.skip("systemd-sysusers needs root here")
    assert done.returncode == 0, done.stdout
    (user,) = (tmp_path / "etc" / "passwd").read_text().splitlines()
    (group,) = (tmp_path / "etc" / "group").read_text().splitlines()
    name, _, _, gid, _, home, shell = user.split(":")
    assert [name] == settings(UNIT)["User"]
    assert [group.split(":")[0]] == settings(UNIT)["Group"]
    assert gid == group.split(":")[2]
    assert home == "/var/lib/" + settings(UNIT)["StateDirectory"][0]
    assert shell.endswith("nologin")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_administrator_s_directories_are_made_and_an_own_configuration_is_kept(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    run(tool("systemd-sysusers"), f"--root={tmp_path}", str(FOLDER / "asrd.sysusers.conf"))
    make = (tool("systemd-tmpfiles"), f"--root={tmp_path}", "--create", str(FOLDER / "asrd.tmpfiles.conf"))
    assert run(*make).returncode == 0
    config = tmp_path / "etc" / "asrd" / "asrd.toml"
    assert config.read_text().startswith("#")
    config.write_text("mine")
    assert run(*make).returncode == 0
    assert config.read_text() == "mine"
    cache, models = tmp_path / "var/cache/asrd", tmp_path / "var/cache/asrd/huggingface"
    assert (cache.stat().st_mode & 0o777, cache.stat().st_uid != 0) == (0o700, True)
    assert (models.stat().st_mode & 0o777, models.stat().st_uid) == (0o755, 0)
