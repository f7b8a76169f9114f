"""One session with a leader: what it says, told apart and passed on."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from agent.intake import Intake
from agent.ports import LeaderError, NodePorts, Session
from agent.requests import Requests
from katgen.protocol import (
    Abort,
    Cancel,
    Commit,
    Complaint,
    Propose,
    Settings,
    SignedRecord,
    ToAgent,
    Verdict,
)

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Conversation:
    """`committed` is called with every record, `settled` with settings; they must not wait."""

    node: NodePorts
    session: Session
    intake: Intake
    committed: Callable[[SignedRecord], None]
    settled: Callable[[Settings], None]
    _proposal: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Listen until the session ends; open answers end with it. Raises LeaderError."""
        error = None
        async with asyncio.TaskGroup() as group:
            requests = Requests(self.node, self.session, group)
            try:
                async for message in self.session.messages():
                    await self._hear(message, requests, group)
            except LeaderError as err:
                error = err
            requests.cancel_all()
            self._drop()
        if error is not None:
            raise error

    async def _hear(self, message: ToAgent, requests: Requests, group: asyncio.TaskGroup) -> None:
        match message:
            case Commit():
                self.committed(message.signed)
            case Propose():
                self._drop()
                name = f"propose {message.generation}"
                self._proposal = group.create_task(self._propose(message), name=name)
            case Abort():
                self._drop()
                self.intake.abort(message.generation)
            case Cancel():
                requests.cancel(message.id)
            case Settings():
                self.settled(message)
            case _:
                await requests.start(message)

    def _drop(self) -> None:
        """Leave the proposal under way: one plan is proposed at a time."""
        if self._proposal is not None:
            self._proposal.cancel()
            self._proposal = None

    async def _propose(self, asked: Propose) -> None:
        try:
            verdict = await self.intake.propose(self.session, asked)
        except Exception:  # noqa: BLE001 -- a fault must not end the session; it is logged
            _log.exception("generation %d cannot be looked at", asked.generation)
            text = "a fault in the agent; see the journal of kat-agent.service"
            verdict = Verdict(asked.generation, "unfit", (Complaint("", text),))
        try:
            await self.session.send(verdict)
        except LeaderError as err:
            _log.info("the verdict on %d is not wanted any more: %s", asked.generation, err)
