"""`kat-dns`: serves the rendered zones on the node's overlay address, and forwards the rest.

`--root DIR` and `--listen ADDRESS:PORT` are for a trial without systemd.
"""

import argparse
import asyncio
import gc
import signal
import sys
import time
from pathlib import Path
from typing import Final

from agent.dns.clients import Clients
from agent.dns.forward import Forwarder
from agent.dns.listening import Sockets, opened, passed
from agent.dns.loading import Loading
from agent.dns.respond import Responder
from agent.dns.server import Server, heard
from agent.dns.settings import PATH, Settings, SettingsError, read_settings
from agent.dns.table import Table
from agent.dns.upstreams import Upstreams
from agent.notify import READY, STOPPING, WATCHDOG, notify, status, watchdog_s

_FINISH_S: Final = 0.3
"""For answers under way at a stop; questions that arrive meanwhile wait for the next process."""
_STREAM_BYTES: Final = 8192
_ROUND_S: Final = 10
_PAUSE_S: Final = 1
"""Before an end that systemd answers with another start at once."""


def main() -> int:
    """Serve until told to stop. 1 if settings or sockets are missing or damaged."""
    options = _options()
    root = Path(options.root)
    try:
        sockets = _sockets(options.listen)
        settings = read_settings(root / PATH.lstrip("/"))
    except (SettingsError, OSError) as err:
        _say(str(err))
        time.sleep(_PAUSE_S)
        return 1
    asyncio.run(_Process(root, settings, sockets).run())
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("kat-dns", description="Name server of a KAT node.")
    parser.add_argument("--root", default="/", help="where to find /etc/kat and /var/lib/kat")
    parser.add_argument("--listen", default="", metavar="ADDRESS:PORT", help="without systemd")
    return parser.parse_args()


def _sockets(listen: str) -> Sockets:
    """Return systemd's sockets, or new ones. OSError if there is nothing to listen on."""
    address, _, port = listen.rpartition(":")
    sockets = opened(address, int(port)) if listen else passed()
    if not sockets.udp:
        raise OSError("systemd passed no socket, kat-dns.socket starts this; or say --listen")
    return sockets


def _say(text: str) -> None:
    """Write an error to the journal, sd-daemon(3)."""
    sys.stderr.write(f"<3>{' '.join(text.splitlines())}\n")
    sys.stderr.flush()


class _Process:
    """What runs between a start and a stop."""

    def __init__(self, root: Path, settings: Settings, sockets: Sockets) -> None:
        self._root = root
        self._settings = settings
        self._sockets = sockets
        self._table = Table(settings.domain)
        self._loading = Loading(root, settings.domain, self._table, _say)
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()

    async def run(self) -> None:
        """Serve. What arrives before all is read waits in its socket."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        await self._take()
        async with asyncio.TaskGroup() as tasks:
            upstreams = Upstreams(self._root, self._settings)
            forwarder = Forwarder(upstreams, tasks, self._settings.address)
            server = Server(Responder(self._table), forwarder, Clients(self._settings.clients))
            listeners = await self._listen(server)
            beside = (
                tasks.create_task(self._rounds(), name="dns-rounds"),
                tasks.create_task(self._reloads(forwarder, server), name="dns-reload"),
            )
            await self._say_ready()
            await self._stop.wait()
            notify(STOPPING)
            for listener in listeners:
                listener.close()
            await server.finish(_FINISH_S)
            for channel in (*self._sockets.udp, *self._sockets.news):
                loop.remove_reader(channel)
            await forwarder.finish(_FINISH_S)
            for task in beside:
                task.cancel()

    async def _listen(self, server: Server) -> list[asyncio.Server]:
        loop = asyncio.get_running_loop()
        for channel in self._sockets.udp:
            loop.add_reader(channel, server.drain, channel)
        for channel in self._sockets.news:
            loop.add_reader(channel, heard, channel, self._loading.take_states)
        return [
            await asyncio.start_server(server.converse, sock=one, limit=_STREAM_BYTES)
            for one in self._sockets.tcp
        ]

    async def _take(self) -> None:
        await self._loading.take_zones(drops=True)
        gc.collect()
        gc.freeze()  # what lives long is not looked through again and again

    async def _rounds(self) -> None:
        """Say that all is well, and look whether the disk holds more than somebody told."""
        while True:
            await asyncio.sleep(watchdog_s() / 3 or _ROUND_S)
            await self._loading.take_zones()
            notify(WATCHDOG)

    async def _reloads(self, forwarder: Forwarder, server: Server) -> None:
        """Take up what changed on disk at each SIGHUP, systemd.service(5) `notify-reload`."""
        while True:
            await self._reload.wait()
            self._reload.clear()
            notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
            try:
                settings = read_settings(self._root / PATH.lstrip("/"))
            except SettingsError as err:
                _say(f"{err}, going on with what it was before")
                settings = self._settings
            if settings.domain != self._settings.domain:
                self._stop.set()  # another domain is another table; systemd starts us again
                return
            if settings != self._settings:
                self._settings, server.clients = settings, Clients(settings.clients)
                forwarder.upstreams = Upstreams(self._root, settings)
                forwarder.host = settings.address
            await self._take()
            await self._say_ready()

    async def _say_ready(self) -> None:
        """Say so; from then on the agent tells of what it deletes, so look at what it did not."""
        notify(READY, self._status())
        await self._loading.take_zones(drops=True)

    def _status(self) -> str:
        return status(f"{len(self._table.names)} names of {self._settings.domain}")
