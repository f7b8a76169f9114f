"""`kat-leader run`: everything of a leader, wired together in one process."""

import asyncio
import contextlib
import gc
import logging
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from katgen.errors import KatError
from katgen.leader import backend, door, logs
from katgen.leader.agents.hearing import LoopPorts
from katgen.leader.agents.sessions import Sessions
from katgen.leader.app import make_app
from katgen.leader.backend import StateError
from katgen.leader.clock import SystemClock
from katgen.leader.cluster import Cluster
from katgen.leader.endpoints.known import Endpoints
from katgen.leader.events import Chronicle
from katgen.leader.loop import Loop
from katgen.leader.metrics.figures import looking
from katgen.leader.metrics.prometheus import Metrics
from katgen.leader.metrics.store import MeasuredStore
from katgen.leader.notify import READY, STOPPING, WATCHDOG, notify, watchdog_s
from katgen.leader.objects import Objects
from katgen.leader.secrets import load_box
from katgen.leader.services import Identity, Services
from katgen.leader.signing import load_signer
from katgen.leader.store import Store
from katgen.leader.tokens import Tokens
from katgen.leader.waiting import awaited

_LOG: Final = logging.getLogger(__name__)
_GARBAGE: Final = (20_000, 20, 20)
"""Objects that came between two collections. Python's 700 suit a small heap; with 10,000 objects
stored it would look through all of them every few seconds, and everybody would wait for it."""
_SWITCH_S: Final = 0.001
"""The event loop lets go of Python's lock at every system call, and then waits so long behind a
thread that validates."""


@dataclass(frozen=True, slots=True)
class Leader:
    """What runs, and what it answers with."""

    services: Services
    loop: Loop
    endpoints: Endpoints


@dataclass(frozen=True, slots=True)
class Kept:
    """What `cluster.json` says."""

    identity: Identity
    store: backend.Kept


async def serve(state_dir: Path, listen: str = "") -> None:
    """Run until SIGTERM or SIGINT. Raises StateError, StoreError, OSError."""
    logs.start()
    sys.setswitchinterval(_SWITCH_S)
    gc.freeze()  # what is imported by now lives as long as the process
    gc.set_threshold(*_GARBAGE)
    end = asyncio.Event()
    running = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(number, end.set)
    kept = _kept(state_dir / "cluster.json")
    store = await _store(state_dir, listen, kept, end)
    if store is not None:
        async with (
            _built(state_dir, kept.identity, store) as leader,
            _listening(leader, state_dir, listen),
        ):
            await _run(leader, end)
    _LOG.info("stopped")


@contextlib.asynccontextmanager
async def _built(state_dir: Path, identity: Identity, found: Store) -> AsyncIterator[Leader]:
    """Wire a leader; its store is closed at the end. Raises OSError."""
    metrics = Metrics()
    store = MeasuredStore(found, metrics)
    clock = SystemClock()
    try:
        box, signer = load_box(state_dir / "secrets.key"), load_signer(state_dir / "signing.key")
        view, sessions, chronicle = Cluster(), Sessions(), Chronicle(store, clock)
        loop = Loop(
            LoopPorts(
                store=store,
                signer=signer,
                sessions=sessions,
                clock=clock,
                cluster=view,
                chronicle=chronicle,
                uid=identity.uid,
                metrics=metrics,
            )
        )
        endpoints = Endpoints(sessions.tell, view, clock, chronicle)
        sessions.endpoints = endpoints
        services = Services(
            identity=identity,
            store=store,
            objects=Objects(store, box, clock),
            tokens=Tokens(store),
            planning=loop,
            view=view,
            chronicle=chronicle,
            agents=sessions,
            clock=clock,
            metrics=metrics,
            is_loaded=loop.loaded.is_set,
        )
        metrics.look(looking(view, lambda: chronicle.count, lambda: store.revision))
        yield Leader(services, loop, endpoints)
    finally:
        await store.close()


async def _store(state_dir: Path, listen: str, kept: Kept, end: asyncio.Event) -> Store | None:
    """Return the store; None if the end comes first. Raises StateError, StoreError, OSError."""
    identity = kept.identity

    async def opening() -> Store:
        return await backend.opened(state_dir, identity.uid, kept.store)

    if not kept.store.etcd:
        return await opening()
    port, context = identity.api_port, tls(state_dir)
    waiting = asyncio.create_task(awaited(opening, listen, port, context), name="open the store")
    ending = asyncio.create_task(end.wait(), name="end")
    await asyncio.wait({waiting, ending}, return_when=asyncio.FIRST_COMPLETED)
    ending.cancel()
    if waiting.done():
        return waiting.result()
    waiting.cancel()
    notify(STOPPING)
    await asyncio.wait({waiting})
    return None


def tls(state_dir: Path) -> ssl.SSLContext:
    """Return the leader's side of TLS: clients may have a certificate, of this cluster's CA only.

    Raises OSError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(state_dir / "leader.crt", state_dir / "leader.key")
    context.load_verify_locations(state_dir / "ca.crt")
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


@contextlib.asynccontextmanager
async def _listening(leader: Leader, state_dir: Path, listen: str) -> AsyncIterator[None]:
    app, port = make_app(leader.services), leader.services.identity.api_port
    async with door.listening(app, listen, port, tls(state_dir)):
        _LOG.info("listening", extra={"fields": {"address": listen or "*", "port": port}})
        yield


async def _run(leader: Leader, end: asyncio.Event) -> None:
    """Run until the end. Raises what ended it before, if that is KAT's own: it says what to do."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(leader.loop.run(), name="loop"),
                group.create_task(leader.endpoints.run(), name="endpoints"),
                group.create_task(_watchdog(), name="watchdog"),
                group.create_task(_ready(leader.loop), name="ready"),
            ]
            await end.wait()
            notify(STOPPING)
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as group_of:
        cause: BaseException = group_of
        while isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        if isinstance(cause, KatError):
            raise cause from group_of
        raise


async def _ready(loop: Loop) -> None:
    """Say so once it is known what was committed."""
    await loop.loaded.wait()
    notify(READY)


async def _watchdog() -> None:
    """Say often enough that this process still gets round to things."""
    interval = watchdog_s() / 3
    while interval:
        notify(WATCHDOG)
        await asyncio.sleep(interval)


def _kept(path: Path) -> Kept:
    class Written(msgspec.Struct, rename="camel"):
        uid: str
        name: str
        api_port: int
        etcd: tuple[str, ...] = ()

    try:
        found = msgspec.json.decode(path.read_bytes(), type=Written)
    except FileNotFoundError as err:
        raise StateError(f"{path} is missing: `kat-agent init` makes a cluster") from err
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        raise StateError(f"{path} is damaged: {err}") from err
    return Kept(Identity(found.uid, found.name, found.api_port), backend.Kept(found.etcd))
