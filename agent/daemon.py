"""`kat-agent run`: the agent as a service of systemd."""

import asyncio
import gc
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Final

import click

from agent import state
from agent.alone import alone
from agent.client import Identity, Leader
from agent.exits import Exit
from agent.loop import Agent
from agent.machine_ports import opened
from agent.observed.server import observed
from katgen.errors import Problem, RefusedError, Source

_LEVELS: Final = {logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}
_UMASK: Final = 0o077


class Journald(logging.Formatter):
    """Lines with their priority in front, sd-daemon(3)."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        level = max((n for n in _LEVELS if n <= record.levelno), default=logging.DEBUG)
        lines = super().format(record).splitlines()
        return "\n".join(f"<{_LEVELS[level]}>{line}" for line in lines)


@click.command("run", short_help="Be the agent; kat-agent.service does it.")
def run() -> int:
    """Be the agent until SIGTERM. What runs on this node goes on without it."""
    os.umask(_UMASK)
    _log_to_journal()
    # Everything imported lives to the end: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    asyncio.run(_run())
    return Exit.FINE


async def _run() -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with opened() as node:
        config = state.load(node.files, state.NODE, state.NodeConfig)
        if config is None:
            what = "this machine is no node of KAT"
            raise RefusedError([Problem(Source(), what, "`kat-agent init` makes it one")])
        leader = Leader(Identity(config.node, config.leader, Path(state.AGENT)))
        with alone():
            agent = Agent(node, config, leader)
            async with observed(node, config, agent.look):
                await agent.run(stopping)


def _log_to_journal() -> None:
    out = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(levelname)s %(name)s: %(message)s")
    out.setFormatter(Journald("%(message)s") if "JOURNAL_STREAM" in os.environ else plain)
    logging.basicConfig(level=logging.INFO, handlers=[out])
