"""`/healthz`, `/readyz` and `/metrics` of the agent, on the cluster's `agentPort` (spec §6.5).

| where | who may ask |
|---|---|
| 127.0.0.1 | every program on this machine, in plain HTTP |
| the advertised address | who has a certificate of the cluster's CA, over TLS |

Nothing is changed by asking, and no answer names a workload. What fails here is logged and tried
again; the agent's work does not depend on it.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import msgspec

from agent import state
from agent.observed.counts import Counts, Look
from agent.observed.http import Answer, Asked, Door, serve
from agent.ports import Clock, NodePorts
from agent.state import NodeConfig

LOOPBACK: Final = "127.0.0.1"
RETRY_S: Final = 15
BACKLOG: Final = 16
JSON: Final = "application/json"
APPLY_TOPICS: Final = frozenset({"memory", "record", "bundle", "apply"})
"""Of a node's problems: those that keep it from what is committed."""
_FILES: Final = ("node.crt", "node.key", "ca.crt")
_YES: Final = frozenset({"", "1", "true"})

_log = logging.getLogger(__name__)


class Check(msgspec.Struct, frozen=True):
    """Something that a healthy or ready agent has; as the leader says it."""

    name: str
    is_ok: bool = msgspec.field(name="ok")


class Health(msgspec.Struct, frozen=True):
    """Whether all checks are well."""

    is_ok: bool = msgspec.field(name="ok")
    checks: tuple[Check, ...]


def health(look: Look) -> Health:
    """Return whether the agent gets round to things; all else may be wrong."""
    return _of(Check("ticks", look.late_s == 0))


def readiness(look: Look) -> Health:
    """Return whether the node has a plan and can follow the next; that needs no leader."""
    can_apply = look.is_resumed and not look.problems & APPLY_TOPICS
    return _of(
        Check("plan", look.applied is not None),
        Check("apply", can_apply),
        Check("rules", "rules" not in look.problems),
    )


def _of(*checks: Check) -> Health:
    return Health(all(one.is_ok for one in checks), checks)


@dataclass(slots=True)
class Answers:
    """What is answered; `look` is asked each time."""

    counts: Counts
    look: Callable[[], Look]
    _registry: Any = field(default=None, init=False)

    async def answer(self, asked: Asked) -> Answer:
        """Return the answer to a request."""
        match asked.path:
            case "/healthz":
                return _told(asked, health(self.look()))
            case "/readyz":
                return _told(asked, readiness(self.look()))
            case "/metrics":
                return await self._metrics(asked)
            case _:
                return Answer(HTTPStatus.NOT_FOUND, b"there are /healthz, /readyz and /metrics")

    async def _metrics(self, asked: Asked) -> Answer:
        exposition = await asyncio.to_thread(import_module, "katgen.exposition")
        if self._registry is None:
            metrics = await asyncio.to_thread(import_module, "agent.observed.metrics")
            self._registry = metrics.registry(self.counts, self.look)
        if JSON in asked.accept:
            body = msgspec.json.encode(exposition.families(self._registry))
            return Answer(HTTPStatus.OK, body, JSON)
        return Answer(HTTPStatus.OK, exposition.text(self._registry), exposition.TEXT)


def _told(asked: Asked, found: Health) -> Answer:
    status = HTTPStatus.OK if found.is_ok else HTTPStatus.SERVICE_UNAVAILABLE
    if asked.query.get("verbose", "0") in _YES:
        return Answer(status, msgspec.json.encode(found), JSON)
    failed = ", ".join(one.name for one in found.checks if not one.is_ok)
    return Answer(status, f"not ready: {failed}".encode() if failed else b"ok")


# --- where ----------------------------------------------------------------------------------------


@asynccontextmanager
async def observed(
    node: NodePorts, config: NodeConfig, look: Callable[[], Look], folder: Path = Path(state.AGENT)
) -> AsyncIterator[None]:
    """Answer during the block. `folder` has node.key, node.crt and ca.crt."""
    answer = Answers(node.counts, look).answer
    port = config.agent_port
    doors: dict[str, Callable[[], ssl.SSLContext] | None] = {LOOPBACK: None}
    if config.advertise_address not in ("", LOOPBACK):
        doors[config.advertise_address] = Certificate(folder).context
    tasks = [
        asyncio.create_task(
            _listen(node.clock, (address, port), lambda door: serve(door, answer), tls),
            name=f"answers at {address}",
        )
        for address, tls in doors.items()
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(slots=True)
class Certificate:
    """The node's, as its files have it; they are read anew when they are others: it was renewed."""

    folder: Path
    _seen: tuple[int, ...] = ()
    _made: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """Return TLS that shows the certificate to who shows one of the same CA. OSError."""
        seen = tuple((self.folder / name).stat().st_mtime_ns for name in _FILES)
        if self._made is None or seen != self._seen:
            self._made, self._seen = self._read(), seen
        return self._made

    def _read(self) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = ssl.TLSVersion.TLSv1_3
        made.load_cert_chain(self.folder / "node.crt", self.folder / "node.key")
        made.load_verify_locations(self.folder / "ca.crt")
        made.verify_mode = ssl.CERT_REQUIRED
        made.num_tickets = 0
        return made


async def _listen(
    clock: Clock,
    where: tuple[str, int],
    serving: Callable[[Door], Awaitable[None]],
    tls: Callable[[], ssl.SSLContext] | None,
) -> None:
    """Listen for ever: an address may come later, and whoever has the port may leave it."""
    said = ""
    while True:
        try:
            if tls is not None:
                tls()
            with _opened(where) as listening:
                said = ""
                await serving(Door(listening, tls))
        except OSError as err:
            if str(err) != said:
                _log.warning("metrics at %s:%d: %s, retrying every %d s", *where, err, RETRY_S)
            said = str(err)
        except Exception:  # noqa: BLE001 -- see the module; it is logged, with its trace
            _log.exception("metrics at %s:%d, retrying in %d s", *where, RETRY_S)
        await clock.sleep(RETRY_S)


def _opened(where: tuple[str, int]) -> socket.socket:
    """Return a socket that listens. Raises OSError."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setblocking(False)  # noqa: FBT003 -- socket's signature
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(where)
        made.listen(BACKLOG)
    except BaseException:
        made.close()
        raise
    return made
