"""The control socket: answered at once from what is known, however busy the workers are."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec
import zmq

from asrd_protocol import messages as msg
from asrd_protocol.codec import MAX_HEADER, Codec, Encoding, Unreadable, did_you_mean, encode
from asrd_protocol.faults import Code, Fault
from asrd_supervisor import sizing
from asrd_supervisor.config import Config, ConfigError
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.seats import Seat
from asrd_supervisor.core.supervisor import Supervisor
from asrd_supervisor.curve import Keys
from asrd_supervisor.ledger import Ledger
from asrd_supervisor.peers import Access, Peer
from asrd_supervisor.report import insights, recycles, snapshot
from asrd_supervisor.sockets import Limits, Parcel, Router

Command = msg.Recycle | msg.Unload | msg.Load | msg.Reload | msg.SetPool | msg.Drain | msg.Stop
"""What only an operator may ask for."""


class Control:
    """One ROUTER socket. Questions read the core; commands are events."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        loop: asyncio.AbstractEventLoop,
        address: str,
        core: Supervisor,
        config: Config,
        ledger: Ledger,
        access: Access,
        post: Callable[[ev.Event], None],
        pid_of: Callable[[Seat], int | None],
    ) -> None:
        self._core = core
        self._config = config
        self._ledger = ledger
        self._access = access
        self._post = post
        self._pid_of = pid_of
        self._started = time.monotonic()
        self._codec: Codec[msg.ControlQuestion] = Codec(msg.ControlQuestion)
        self.loop_lag = 0.0
        """Seconds; kept up by the daemon's tick."""
        self._context = context
        self._loop = loop
        self._routers: list[Router] = []
        self.listen(address, None)

    def lost(self) -> bool:
        """Whether somebody has taken our place."""
        return any(router.lost() for router in self._routers)

    def close(self) -> None:
        """Stop listening; last answers get half a second to leave."""
        for router in self._routers:
            router.close(linger_ms=500)

    def listen(self, address: str, keys: Keys | None) -> None:
        """Answer on one more socket."""

        def on_parcel(parcel: Parcel) -> None:
            self._on_parcel(router, parcel)

        router = Router(self._context, self._loop, address, on_parcel, Limits(2 * MAX_HEADER, identify=True), keys)
        self._routers.append(router)

    def _on_parcel(self, router: Router, parcel: Parcel) -> None:
        encoding, ref = Encoding.of(parcel.header), ""
        answer: msg.ControlAnswer
        try:
            question = self._codec.decode(parcel.header)
            ref = question.ref
            answer = self._refused(parcel) or self._answer(question, parcel.peer)
        except Unreadable as error:
            answer, ref = msg.Refused(fault=error.fault), error.ref
        header = encode(msgspec.structs.replace(answer, ref=ref), encoding)
        router.send(parcel.identity, [header], delimiter=parcel.delimiter)

    def _refused(self, parcel: Parcel) -> msg.Refused | None:
        if fault := self._access.objection(parcel.peer):
            return msg.Refused(fault=fault)
        extra = parcel.surplus + (parcel.body is not None)
        if not extra:
            return None
        said = f"a question on the control socket is one frame; this one has {extra} more"
        return msg.Refused(fault=Fault.of(Code.TOO_MANY_FRAMES, said))

    def _answer(self, question: msg.ControlQuestion, peer: Peer) -> msg.ControlAnswer:
        now = time.monotonic()
        match question:
            case msg.Health():
                return snapshot.health(self._core, now - self._started, int(self._config.audio.max_body))
            case msg.Stats():
                return snapshot.stats(self._core, self._ledger, now - self._started, self.loop_lag)
            case msg.Workers():
                return snapshot.workers(self._core, now, self._pid_of)
            case msg.Jobs():
                return snapshot.jobs(self._core, self._ledger, now, question, lambda job: self._sees(peer, job))
            case msg.Pools():
                return snapshot.pools(self._core, self._config, now)
            case msg.Recycles(pool=pool):
                return self._no_pool(pool) or recycles.report(self._core, now, question)
            case msg.Insights():
                return insights.insights(self._core, self._config, now)
            case _ if not self._access.may_operate(peer):
                said = "only an operator may command the daemon: root, its own user, or who is in access.operators"
                return msg.Refused(fault=Fault.of(Code.NOT_ALLOWED, said))
            case _:
                return self._command(question)

    def _sees(self, peer: Peer, job: str) -> bool:
        record = self._ledger.find(job)
        return peer.trusted or (record is not None and record.owner == peer.owner)

    def _command(self, command: Command) -> msg.Done | msg.Refused:
        match command:
            case msg.Recycle():
                return self._recycle(command)
            case msg.Unload(pool=pool) | msg.Load(pool=pool) | msg.Reload(pool=pool) | msg.SetPool(pool=pool):
                return self._no_pool(pool) or self._engine(pool, command)
            case msg.Drain(resume=resume):
                self._post(ev.DrainRequested(resume))
                return msg.Done(message="new jobs are taken again" if resume else "new jobs are refused")
            case msg.Stop(now=now):
                self._post(ev.StopRequested(now))
                kept = "; what waits is kept" if self._core.durable else " and what waits"
                return msg.Done(message="stopping at once" if now else f"finishing what runs{kept}, then stopping")

    def _no_pool(self, name: str | None) -> msg.Refused | None:
        """The refusal of a question about a pool that there is not."""
        if name is None or name in self._core.pools:
            return None
        hint = did_you_mean(name, self._core.pools)
        return msg.Refused(fault=Fault.of(Code.UNKNOWN_POOL, f"there is no pool {name!r}{hint}"))

    def _engine(self, name: str, command: msg.Unload | msg.Load | msg.Reload | msg.SetPool) -> msg.Done | msg.Refused:
        """What the workers of a pool have loaded, or whether they have."""
        pool = self._core.pools[name]
        resting = pool.staffing.rest.asleep
        match command:
            case msg.Unload() if pool.unavailable:
                return msg.Refused(fault=pool.unavailable_fault())
            case msg.Unload():
                self._post(ev.RestRequested(name))
                return msg.Done(message=f"the workers of {name!r} leave after their steps; the next job starts them")
            case msg.Load():
                self._post(ev.WakeRequested(name))
                warm = pool.ready >= pool.policy.workers
                return msg.Done(message=f"the workers of {name!r} are " + ("ready" if warm else "starting"))
            case msg.Reload():
                self._post(ev.RenewRequested(name, "reload"))
                said = "rests: it reads its model when it starts" if resting else "reads its model again"
                return msg.Done(message=f"{name!r} {said}")
            case msg.SetPool(settings=settings):
                return self._set(name, settings, resting=resting)

    def _set(self, name: str, settings: dict[str, Any], *, resting: bool) -> msg.Done | msg.Refused:
        """Held against the same rules as the file."""
        known = self._core.pools[name].staffing.renewal.editions.wanted.settings
        try:
            made = sizing.reset(self._config.pools[name], f"pools.{name}", {**known, **settings})
        except ConfigError as error:
            return msg.Refused(fault=Fault.of(Code.BAD_OPTION, str(error)))
        load = sizing.load(made, self._config)
        told = sizing.told(load.settings, {**known, **settings})
        if told == sizing.told(sizing.now(self._config, name, known), told):
            return msg.Done(message=f"{name!r} has these settings already")
        self._post(ev.RenewRequested(name, "changed", told, load))
        said = ", ".join(f"{key}={told[key]}" for key in settings)
        when = "when it starts" if resting else "one worker after the other"
        return msg.Done(message=f"{name!r} gets {said}, {when}, until the daemon ends")

    def _recycle(self, command: msg.Recycle) -> msg.Done | msg.Refused:
        pools = self._core.pools
        if refused := self._no_pool(command.pool):
            return refused
        if command.seat is None:
            self._post(ev.RecycleRequested(command.pool))
            return msg.Done(message="replacing all workers, one after the other")
        known = {str(slot.seat): slot.seat for pool in pools.values() for slot in pool.slots if slot.live}
        seat: Seat | None = known.get(command.seat)
        if seat is None:
            hint = did_you_mean(command.seat, known)
            return msg.Refused(fault=Fault.of(Code.UNKNOWN_SEAT, f"there is no worker {command.seat!r}{hint}"))
        self._post(ev.RecycleRequested(seat.pool, seat.slot))
        return msg.Done(message=f"replacing {seat}")
