"""Restarts what is not alive: of each workload one instance at a time (spec §6.3)."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agent.ports import Systemd, UnfitError, UnitError
from katgen.bundle import InstanceEntry
from katgen.names import InstanceKey
from katgen.protocol import KILLING, NOT_RESTARTED

RESTART_S: Final = 3600
"""systemd's own deadlines for stop and start are shorter."""
Identity = tuple[float, int]
"""Of a run: since when it is active, and its main process."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hooks:
    """`dead_run`: the run that is not alive, when its turn has come, or None if it is by now.

    `revived`: that run has been ended; returns whether the instance is still one of this node's.
    The next run's state may be known before. `noted` is given a reason and a text for people on
    each restart and each that failed.
    """

    dead_run: Callable[[InstanceKey], Identity | None]
    revived: Callable[[InstanceKey, Identity], bool]
    noted: Callable[[InstanceKey, str, str], None]


class Restarts:
    """Those that wait for their turn, by workload.

    `counts` says how often each that is there was restarted, `gone` how often those that were.
    """

    def __init__(self, systemd: Systemd, hooks: Hooks) -> None:
        self._systemd, self._hooks = systemd, hooks
        self._waiting: dict[str, dict[InstanceKey, tuple[InstanceEntry, str]]] = {}
        self._busy: set[str] = set()
        self._news = asyncio.Event()
        self.counts: dict[InstanceKey, int] = {}
        self.gone = 0

    def add(self, entry: InstanceEntry, why: str) -> None:
        """Have an instance restarted, unless it is alive again when its turn comes."""
        workload = entry.instance.rpartition("/")[0]
        self._waiting.setdefault(workload, {}).setdefault(entry.instance, (entry, why))
        self._news.set()

    def forget(self, instance: InstanceKey) -> None:
        """Count one that is gone as one of many."""
        self.gone += self.counts.pop(instance, 0)

    async def run(self) -> None:
        """Restart until cancelled."""
        self._busy.clear()
        self._news.set()
        async with asyncio.TaskGroup() as group:
            while True:
                await self._news.wait()
                self._news.clear()
                for workload in self._waiting.keys() - self._busy:
                    self._busy.add(workload)
                    group.create_task(self._work(workload), name=f"restarts of {workload}")

    async def _work(self, workload: str) -> None:
        waiting = self._waiting[workload]
        while waiting:
            instance = next(iter(waiting))
            entry, why = waiting[instance]
            run = self._hooks.dead_run(instance)
            if run is not None:
                await self._restart(entry, run, why)
            waiting.pop(instance, None)
        del self._waiting[workload]
        self._busy.discard(workload)

    async def _restart(self, entry: InstanceEntry, run: Identity, why: str) -> None:
        """Restart, or stop what is never started again; return when it runs or cannot.

        A unit that somebody is about to stop is left alone.
        """
        is_last = entry.restart_policy == "Never"
        act = self._systemd.stop if is_last else self._systemd.try_restart
        try:
            await act(entry.unit, RESTART_S)
            now = (await self._systemd.states([entry.unit]))[entry.unit].active_state
        except (UnitError, UnfitError) as err:
            text = f"is not alive ({why}), and does not start again: {err}"
            self._note(entry, NOT_RESTARTED, text)
            return
        if now != "active" and not is_last:
            return
        is_there = self._hooks.revived(entry.instance, run)
        if not is_last:
            self.counts[entry.instance] = self.counts.get(entry.instance, 0) + 1
        if not is_there:
            self.forget(entry.instance)
        done = "stopped, as its restartPolicy is Never" if is_last else "restarted"
        self._note(entry, KILLING, f"was not alive ({why}): {done}")

    def _note(self, entry: InstanceEntry, reason: str, text: str) -> None:
        _log.warning("%s %s", entry.unit, text)
        self._hooks.noted(entry.instance, reason, text)
