"""The daemon: makes the parts, connects them, and runs until the core says leave."""

import asyncio
import random
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
import zmq

from asrd_protocol.addresses import Addresses
from asrd_protocol.codec import MAX_HEADER
from asrd_protocol.exits import Exit
from asrd_protocol.faults import Code, Fault
from asrd_supervisor import placing, sizing
from asrd_supervisor.admission import Admission, Rules
from asrd_supervisor.backend import Backend
from asrd_supervisor.config import Config
from asrd_supervisor.control import Control
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.plan import JobState
from asrd_supervisor.core.supervisor import Supervisor
from asrd_supervisor.curve import Gate, Keys
from asrd_supervisor.environment import worker_environment
from asrd_supervisor.errands import Errands
from asrd_supervisor.frontend import Frontend
from asrd_supervisor.handover import HandOver
from asrd_supervisor.launcher import Launcher, LaunchSpec
from asrd_supervisor.named_files import NamedFiles
from asrd_supervisor.owner import Owner
from asrd_supervisor.peers import Access
from asrd_supervisor.probes.gpus import Gpus
from asrd_supervisor.probes.sampler import Host, Sampler, Workers
from asrd_supervisor.pulse import Pulse
from asrd_supervisor.report.publish import Publisher
from asrd_supervisor.sockets import Limits, Parcel, Router
from asrd_supervisor.storage import Storage
from asrd_supervisor.systemd import Notifier
from asrd_supervisor.timers import Timers

_log = structlog.get_logger("asrd")

EXPIRY_S = 30.0
"""Seconds between two looks for results that have had their time."""

LOOK_S = 5.0
"""Seconds between two looks whether our sockets are still where clients find them."""

INBOX = 2
"""Messages of one client that libzmq takes before we do: each can have a whole body of audio."""


class Daemon:
    """Everything that lives as long as the daemon does. Runs on one thread."""

    def __init__(
        self, config: Config, addresses: Addresses, notifier: Notifier, storage: Storage, keys: Keys | None
    ) -> None:
        loop = self._loop = asyncio.get_running_loop()
        self._config = config
        self._addresses = addresses
        self._storage = storage
        self._evicted = False
        self._gone: asyncio.Future[Exit] = loop.create_future()
        core = self._core = Supervisor(sizing.policy(config), random.Random())
        self._owner = Owner(core, time.monotonic, self._perform, self._on_broken_core)
        post = self._owner.post
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._ledger = storage.ledger(loop, post, self._on_broken_storage)
        self._publisher = Publisher(self._context, loop, addresses.events)
        self._timers = Timers(loop, post)
        specs = {n: LaunchSpec(p.python, worker_environment(p)) for n, p in config.pools.items()}
        self._launcher = Launcher(loop, addresses.workers, specs, self._on_exit)
        loads = self._loads = {name: sizing.load(pool, config) for name, pool in config.pools.items()}
        self._backend = Backend(self._context, loop, addresses.workers, loads, self._on_word)
        access = Access(config.access.uids, config.access.gids, config.access.operators)
        self._control = Control(
            self._context, loop, addresses.control, core, config, self._ledger, access, post, self._launcher.pid
        )
        files = NamedFiles(config.access.allowed_roots)
        chunking = sizing.chunking(config)
        self._handover = HandOver(
            loop, storage.spool, self._ledger, files, self._launcher, self._backend, chunking, post
        )
        results = config.results
        rules = Rules(config.audio.max_body, results.max_bytes, results.max_jobs)
        admission = Admission(
            core.jobs, self._ledger, rules, lambda pool: self._backend.offers(pool or config.default_pool)
        )
        self._frontend = Frontend(loop, core, self._ledger, files, self._handover.threads, access, admission, post)
        self._errands = Errands(self._ledger, self._handover, self._frontend, self._timers)
        self._gate: Gate | None = None
        self._listen(keys)
        self._ledger.intake.relieved = self._frontend.relieve
        self._pulse = Pulse(loop, core, self._ledger, self._control, notifier)
        shared = {device for pool in core.pools.values() if pool.policy.others for device in pool.policy.devices}
        self._sampler = Sampler(loop, self._who_works, post, sample=Host(gpus=Gpus(always=shared)).sample)

    def _listen(self, keys: Keys | None) -> None:
        """On the sockets in the runtime directory, and for other hosts if that is wanted."""
        routers = [self._jobs_socket(self._addresses.jobs)]
        wanted = self._config.listen
        if keys:
            self._gate = Gate(self._context, keys)
            if wanted.jobs:
                routers.append(self._jobs_socket(wanted.jobs, keys))
            if wanted.control:
                self._control.listen(wanted.control, keys)
        self._frontend.listen(routers)

    def _jobs_socket(self, address: str, keys: Keys | None = None) -> Router:
        def on_parcel(parcel: Parcel) -> None:
            self._frontend.on_parcel(router, parcel)

        # A little more than what is allowed still comes in and gets an answer; libzmq cuts off what is longer.
        limits = Limits(self._config.audio.max_body + MAX_HEADER, inbox=INBOX, identify=True)
        router = Router(self._context, self._loop, address, on_parcel, limits, keys)
        return router

    async def run(self) -> Exit:
        """Serve until the core says leave; the exit code is its."""
        self._loop.set_exception_handler(self._on_defect)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._on_stop_signal)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            self._loop.add_signal_handler(signal.SIGHUP, self._hang_up(on_terminal=sys.stderr.isatty()))
        _log.info("serving", directory=str(self._addresses.directory), pools=list(self._core.pools))
        self._pulse.start()
        self._owner.start()
        self._sampler.start()
        self._recover()
        try:
            code = await self._gone
        finally:
            await self._close()
        return Exit.IO if self._ledger.broken else code

    def _on_word(self, event: ev.Event) -> None:
        if isinstance(event, ev.StepFinished | ev.StepFaulted):
            self._handover.forget(event.seat)
        self._owner.post(event)

    def _on_exit(self, event: ev.WorkerExited) -> None:
        self._handover.forget(event.seat)
        self._owner.post(event)

    def _who_works(self) -> Workers:
        """The processes that the host is asked about."""
        seats = ((slot.seat, slot.device) for pool in self._core.pools.values() for slot in pool.slots)
        return {seat: (pid, device) for seat, device in seats if (pid := self._launcher.pid(seat)) is not None}

    def _recover(self) -> None:
        """Go on with what the last daemon has accepted."""
        recovered = self._ledger.recover(self._storage.take_standings())
        if recovered:
            _log.info("recovered", jobs=len(recovered))
        for event in recovered:
            self._owner.post(event)
        self._expire()
        self._look()

    def _look(self) -> None:
        """A daemon that nobody new can find serves nobody; the next one will be found, and knows all jobs."""
        self._looking = self._loop.call_later(LOOK_S, self._look)
        if not self._evicted and (self._frontend.lost() or self._control.lost()):
            self._evicted = True
            _log.error(
                "the sockets were removed or replaced by somebody else", directory=str(self._addresses.directory)
            )
            self._owner.post(ev.StopRequested())

    def _expire(self) -> None:
        self._ledger.archive.expire(self._config.results.ttl)
        self._expiry = self._loop.call_later(EXPIRY_S, self._expire)

    def _on_broken_core(self, error: Exception) -> None:
        _log.error("defect in the core", exc_info=error)
        self._leave(Exit.SOFTWARE, "a defect in asrd; the traceback is in the log")

    def _on_broken_storage(self, error: Exception) -> None:
        """Nobody knows what is stored, so nothing more may be promised, and nothing be said to be done."""
        _log.error("the journal cannot be written", error=str(error))
        self._ledger.broken = True
        fault = Fault.of(Code.STORAGE_FAILED, "the daemon cannot store jobs any more, and leaves", retry_after=10.0)
        for job in [job.id for job in self._core.jobs.active.values() if job.state is JobState.STORING]:
            self._owner.post(ev.JobUnstored(job, fault))
        self._leave(Exit.IO, f"the journal cannot be written ({error}); what was accepted is safe")

    @staticmethod
    def _on_defect(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        _log.error("defect", what=context.get("message"), exc_info=context.get("exception"))

    def _hang_up(self, *, on_terminal: bool) -> Callable[[], None]:
        """What SIGHUP means: the terminal is closed, or somebody wants the configuration read again.

        A terminal may say it twice, by the shell and by the kernel, and means no hurry.
        """
        if on_terminal:
            return lambda: self._owner.post(ev.StopRequested())
        return partial(_log.warning, "reload is not supported; restart instead")

    def _on_stop_signal(self) -> None:
        """The first signal drains, the second one hurries."""
        self._owner.post(ev.StopRequested(now=self._core.jobs.closing))

    async def _close(self) -> None:
        self._pulse.stop()
        self._sampler.close()
        self._expiry.cancel()
        self._looking.cancel()
        self._timers.close()
        self._launcher.close()
        self._frontend.pause()
        self._handover.close()
        await self._ledger.close()
        self._frontend.close()
        self._control.close()
        self._backend.close()
        self._publisher.close()
        if self._gate:
            self._gate.close()
        self._context.term()

    # --- the core's actions -------------------------------------------------------------------------------------------

    def _perform(self, action: do.Action) -> None:
        match action:
            case do.Announce(topic, fields):
                self._publisher.announce(topic, fields)
            case do.SetTimer() | do.SetAlarm():
                self._timers.set(action)
            case do.Spawn() | do.SendLoad() | do.SendStep() | do.SendCancel() | do.SendStop() | do.Kill():
                self._perform_on_worker(action)
            case do.SendCanary(seat, attempt, runs):
                self._backend.canary(seat, attempt, runs)
            case do.Leave(code, message):
                self._leave(code, message)
            case _:
                self._errands.run(action)

    def _perform_on_worker(self, action: do.Action) -> None:
        match action:
            case do.Spawn(seat):
                self._launcher.spawn(seat)
            case do.Kill(seat, dump):
                self._launcher.kill(seat, dump=dump)
            case do.SendLoad():
                self._send_load(action)
            case do.SendStep():
                self._send_step(action)
            case do.SendCancel(seat, attempt):
                self._backend.cancel(seat, attempt)
            case do.SendStop(seat):
                self._backend.stop(seat)

    def _send_load(self, order: do.SendLoad) -> None:
        load, pool = order.load, order.seat.pool
        if order.device or order.light:
            load = load or self._loads[pool]
            load = placing.placed(load, self._config.pools[pool], order.device, light=order.light)
        self._backend.load(order.seat, load)

    def _send_step(self, step: do.SendStep) -> None:
        if record := self._ledger.find(step.job):
            self._handover.send(record, step)

    def _leave(self, code: Exit, message: str) -> None:
        if self._evicted and code is Exit.OK:
            code, message = Exit.TEMPFAIL, "the sockets were removed or replaced by somebody else"
        if code is not Exit.OK:
            _log.error("leaving", reason=message)
        if not self._gone.done():
            self._gone.set_result(code)
