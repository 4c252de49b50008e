"""The daemon: makes the parts, connects them, and runs until the core says leave."""

import asyncio
import random
import signal
import time
from functools import partial
from typing import Any

import structlog
import zmq

from asrd_protocol import link
from asrd_protocol import messages as msg
from asrd_protocol.addresses import Addresses
from asrd_protocol.exits import Exit
from asrd_supervisor import sizing
from asrd_supervisor.backend import Backend
from asrd_supervisor.config import Config
from asrd_supervisor.control import Control
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.supervisor import Supervisor
from asrd_supervisor.environment import worker_environment
from asrd_supervisor.frontend import Frontend
from asrd_supervisor.launcher import Launcher, LaunchSpec
from asrd_supervisor.owner import Owner
from asrd_supervisor.pulse import Pulse
from asrd_supervisor.report.publish import Publisher
from asrd_supervisor.report.snapshot import job_report
from asrd_supervisor.spool import Spool
from asrd_supervisor.systemd import Notifier
from asrd_supervisor.timers import Timers

_log = structlog.get_logger("asrd")


class Daemon:
    """Everything that lives as long as the daemon does. Runs on one thread."""

    def __init__(self, config: Config, addresses: Addresses, notifier: Notifier) -> None:
        loop = self._loop = asyncio.get_running_loop()
        self._addresses = addresses
        self._gone: asyncio.Future[Exit] = loop.create_future()
        core = self._core = Supervisor(sizing.policy(config), random.Random())
        self._owner = Owner(core, time.monotonic, self._perform, self._on_broken_core)
        post = self._owner.post
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._spool = Spool(config.results)
        self._publisher = Publisher(self._context, loop, addresses.events)
        self._timers = Timers(loop, post)
        specs = {n: LaunchSpec(p.python, worker_environment(p)) for n, p in config.pools.items()}
        self._launcher = Launcher(loop, addresses.workers, specs, post)
        loads = {n: link.Load(p.engine, sizing.settings(p), float(config.audio.max_s)) for n, p in config.pools.items()}
        self._backend = Backend(self._context, loop, addresses.workers, loads, post)
        self._control = Control(
            self._context, loop, addresses.control, core, config, self._spool, post, self._launcher.pid
        )
        self._frontend = Frontend(
            self._context, loop, addresses.jobs, self._spool, config.audio.max_body, post, self._state_of
        )
        self._pulse = Pulse(loop, core, self._control, notifier)

    async def run(self) -> Exit:
        """Serve until the core says leave; the exit code is its."""
        self._loop.set_exception_handler(self._on_defect)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._on_stop_signal)
        self._loop.add_signal_handler(signal.SIGHUP, partial(_log.warning, "reload is not supported; restart instead"))
        _log.info("serving", directory=str(self._addresses.directory), pools=list(self._core.pools))
        self._pulse.start()
        self._owner.start()
        try:
            return await self._gone
        finally:
            self._close()

    def _on_broken_core(self, error: Exception) -> None:
        _log.error("defect in the core", exc_info=error)
        self._leave(Exit.SOFTWARE, "a defect in asrd; the traceback is in the log")

    @staticmethod
    def _on_defect(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        _log.error("defect", what=context.get("message"), exc_info=context.get("exception"))

    def _on_stop_signal(self) -> None:
        """The first signal drains, the second one hurries."""
        self._owner.post(ev.StopRequested(now=self._core.jobs.closing))

    def _close(self) -> None:
        self._pulse.stop()
        self._timers.close()
        self._frontend.close()
        self._control.close()
        self._launcher.close()
        self._backend.close()
        self._publisher.close()
        self._context.term()

    def _state_of(self, job: str) -> str | None:
        found = self._core.jobs.active.get(job)
        return str(found.state) if found else None

    # --- the core's actions -------------------------------------------------------------------------------------------

    def _perform(self, action: do.Action) -> None:
        match action:
            case do.Announce(topic, fields):
                self._publisher.announce(topic, fields)
            case do.SetTimer():
                self._timers.set(action)
            case do.Spawn() | do.SendLoad() | do.SendStep() | do.SendCancel() | do.SendStop() | do.Kill():
                self._perform_on_worker(action)
            case do.Leave(code, message):
                self._leave(code, message)
            case _:
                self._perform_for_client(action)

    def _perform_on_worker(self, action: do.Action) -> None:
        match action:
            case do.Spawn(seat):
                self._launcher.spawn(seat)
            case do.Kill(seat, dump):
                self._launcher.kill(seat, dump=dump)
            case do.SendLoad(seat):
                self._backend.load(seat)
            case do.SendStep(seat, attempt, job):
                if audio := self._spool.audio(job):
                    self._backend.run(seat, attempt, audio)
            case do.SendCancel(seat, attempt):
                self._backend.cancel(seat, attempt)
            case do.SendStop(seat):
                self._backend.stop(seat)

    def _perform_for_client(self, action: do.Action) -> None:
        match action:
            case do.Persist(job):
                self._owner.post(ev.JobPersisted(job))
            case do.Accept(job, ahead):
                self._frontend.accept(job, ahead)
            case do.Refuse(job, fault):
                self._frontend.refuse(job, fault)
            case do.Relay(job, done, duration, attempt, index, body):
                if index is not None:
                    self._frontend.relay(msg.SegmentDecoded(job=job, index=index, attempt=attempt), body)
                self._frontend.relay(msg.Progress(job=job, done=done, duration=duration))
            case do.Deliver() | do.Fail():
                self._settle(action)

    def _settle(self, action: do.Deliver | do.Fail) -> None:
        job, now = action.job, time.monotonic()
        answer: msg.Completed | msg.Failed
        match action:
            case do.Deliver(run=run, body=body):
                answer = msg.Completed(job=job.id, run=run)
                report = job_report(job, now, "completed")
            case do.Fail(fault=fault):
                body = None
                answer = msg.Failed(job=job.id, fault=fault, attempts=job.step.attempts, seat=job.seat)
                report = job_report(job, now, "cancelled" if fault.code == "cancelled" else "failed")
        self._frontend.settle(self._spool.settle(answer, body, report))

    def _leave(self, code: Exit, message: str) -> None:
        if code is not Exit.OK:
            _log.error("leaving", reason=message)
        if not self._gone.done():
            self._gone.set_result(code)
