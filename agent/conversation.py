"""One session with a leader: what it says, told apart and passed on."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Protocol

from agent.intake import Intake
from agent.ports import LeaderError, NodePorts, Session
from agent.requests import Requests
from katgen.protocol import (
    Abort,
    Cancel,
    Commit,
    Complaint,
    EndpointKnown,
    EndpointNews,
    Propose,
    Settings,
    SignedRecord,
    ToAgent,
    Verdict,
)

_log = logging.getLogger(__name__)


class Listener(Protocol):
    """Who acts on what a leader says of its own accord (`agent.loop.Agent`)."""

    def committed(self, signed: SignedRecord) -> None:
        """Take in what must run."""

    def settled(self, settings: Settings) -> None:
        """Take in the cluster's settings."""

    def heard(self, news: EndpointNews | EndpointKnown) -> None:
        """Take in what is said of endpoints."""


@dataclass(slots=True)
class Conversation:
    """`listens` hears what is not answered here; it must not wait."""

    node: NodePorts
    session: Session
    intake: Intake
    listens: Listener
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
                self.listens.committed(message.signed)
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
                self.listens.settled(message)
            case EndpointNews() | EndpointKnown():
                self.listens.heard(message)
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
