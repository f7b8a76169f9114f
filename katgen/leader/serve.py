"""`kat-leader run`: everything of a leader, wired together in one process."""

import asyncio
import contextlib
import logging
import signal
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from katgen.errors import KatError
from katgen.leader import door, logs
from katgen.leader.app import make_app
from katgen.leader.clock import SystemClock
from katgen.leader.cluster import Cluster
from katgen.leader.endpoints import Endpoints
from katgen.leader.events import Chronicle
from katgen.leader.figures import looking
from katgen.leader.loop import Loop, LoopPorts
from katgen.leader.measured import MeasuredStore
from katgen.leader.metrics import Metrics
from katgen.leader.notify import READY, STOPPING, WATCHDOG, notify, watchdog_s
from katgen.leader.objects import Objects
from katgen.leader.secrets import load_box
from katgen.leader.services import Identity, Services
from katgen.leader.sessions import Sessions
from katgen.leader.signing import load_signer
from katgen.leader.store.sqlite import SqliteStore
from katgen.leader.tokens import Tokens

_LOG: Final = logging.getLogger(__name__)
_CLUSTER: Final = "objects/ClusterConfiguration/"


class StateError(KatError):
    """The state directory is not what `init` makes."""


@dataclass(frozen=True, slots=True)
class Leader:
    """What runs, and what it answers with."""

    services: Services
    loop: Loop
    endpoints: Endpoints


async def serve(state_dir: Path, listen: str = "") -> None:
    """Run until SIGTERM or SIGINT. Raises StateError, StoreError, OSError."""
    logs.start()
    end = asyncio.Event()
    running = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(number, end.set)
    async with built(state_dir) as leader, _listening(leader, state_dir, listen):
        await _run(leader, end)
    _LOG.info("stopped")


@contextlib.asynccontextmanager
async def built(state_dir: Path) -> AsyncIterator[Leader]:
    """Wire a leader; its store is closed at the end. Raises StateError, StoreError, OSError."""
    identity = _identity(state_dir / "cluster.json")
    box, signer = load_box(state_dir / "secrets.key"), load_signer(state_dir / "signing.key")
    metrics = Metrics()
    store = MeasuredStore(await _opened(state_dir / "store.db"), metrics)
    clock = SystemClock()
    try:
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


async def _opened(path: Path) -> SqliteStore:
    """Open the store that `init` has made. Raises StateError, StoreError.

    An empty one in its place would take from the nodes what they run.
    """
    lost = StateError(
        f"{path} is lost: restore its backup, or remove {path.parent} and begin anew with "
        "`kat-agent reset` and `kat-agent init`"
    )
    if not await asyncio.to_thread(path.exists):
        raise lost
    store = await SqliteStore.open(path)
    if not (await store.list(_CLUSTER, limit=1)).items:
        await store.close()
        raise lost
    return store


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


def _identity(path: Path) -> Identity:
    class Written(msgspec.Struct, rename="camel"):
        uid: str
        name: str
        api_port: int

    try:
        found = msgspec.json.decode(path.read_bytes(), type=Written)
    except FileNotFoundError as err:
        raise StateError(f"{path} is missing: `kat-agent init` makes a cluster") from err
    except msgspec.DecodeError as err:
        raise StateError(f"{path} is damaged: {err}") from err
    return Identity(found.uid, found.name, found.api_port)
