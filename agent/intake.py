"""From what a leader says to what may be put in place: every proof is asked for here.

Nothing in here changes what runs. An answer that is empty, old or corrupt ends in an error.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from agent import state
from agent.ports import LeaderError, NodePorts, Session, UnfitError
from agent.stage import Staged, stage, unstage
from agent.state import HighWater, NodeConfig, Trust
from agent.target import BundleError, Target, target_from
from agent.trust import unknown_fields
from agent.trust import verify as verified_record
from agent.verify import verify
from katgen.errors import KatError
from katgen.protocol import CommitRecord, Complaint, Propose, SignedRecord, Verdict

LIMIT_S: Final = 120
"""After this, staging is given up, however slow the disk: the leader has long gone on without."""

_log = logging.getLogger(__name__)


class NotTakenError(KatError):
    """A committed bundle that this node's tools or its owner's policy refuse."""

    def __init__(self, complaints: tuple[Complaint, ...]) -> None:
        self.complaints = complaints
        super().__init__("; ".join(f"{c.path}: {c.text}" for c in complaints))


class Intake:
    """What is proposed to this node, and the way to a target."""

    def __init__(self, node: NodePorts, config: NodeConfig) -> None:
        self._node, self._config = node, config
        self._staged: Staged | None = None
        self._staging = asyncio.Lock()

    async def propose(self, session: Session, asked: Propose) -> Verdict:
        """Stage and verify a proposal, and say what the node thinks of it."""
        number = asked.generation
        self.abort_all()
        verdict = Verdict(number, "unfit")
        try:
            verdict = await self._judge(session, asked)
        finally:
            if verdict.outcome != "ok":  # cancelled ones too: the scratch tree is memory
                unstage(self._node, number)
        return verdict

    async def _judge(self, session: Session, asked: Propose) -> Verdict:
        number = asked.generation
        try:
            async with self._staging, asyncio.timeout(LIMIT_S):
                staged = await self._stage(session, number, asked.root, asked.size)
                refused = await verify(staged, self._node)
        except BundleError as err:
            return Verdict(number, "refused", (Complaint("", str(err)),))
        except (UnfitError, LeaderError) as err:
            return Verdict(number, "unfit", (Complaint("", str(err)),))
        except TimeoutError:
            text = f"it took longer than {LIMIT_S} s"
            return Verdict(number, "unfit", (Complaint("", text),))
        if refused:
            return Verdict(number, "refused", tuple(refused))
        self._staged = staged
        return Verdict(number, "ok")

    def abort(self, generation: int) -> None:
        """Forget a proposal; one that is not known is fine."""
        if self._staged is not None and self._staged.target.generation == generation:
            self.abort_all()

    def abort_all(self) -> None:
        """Forget what was proposed: one plan is proposed at a time."""
        if self._staged is not None:
            unstage(self._node, self._staged.target.generation)
            self._staged = None

    async def when_idle(self, collect: Callable[[], Awaitable[None]]) -> None:
        """Do what would take contents away from a proposal, unless there is one."""
        if self._staged is None and not self._staging.locked():
            async with self._staging:
                await collect()

    def accept(self, signed: SignedRecord) -> CommitRecord:
        """Return a record that counts, and remember it durably. Raises RecordError, UnfitError."""
        files = self._node.files
        trust = state.load(files, state.TRUST, Trust)
        if trust is None:
            raise UnfitError(f"{state.TRUST} is missing: no record can be trusted")
        record = verified_record(signed, trust, state.high_water(files))
        ignored = unknown_fields(signed)
        if ignored:
            _log.warning("the record has fields of a newer KAT, ignoring: %s", ", ".join(ignored))
        state.raise_high_water(files, HighWater(record.epoch, record.generation, record.root))
        return record

    async def target(self, session: Session, signed: SignedRecord, record: CommitRecord) -> Target:
        """Return what a record commits, its contents here and verified.

        Raises LeaderError, BundleError, UnfitError, NotTakenError.
        """
        async with self._staging, asyncio.timeout(LIMIT_S):
            staged = self._staged
            if staged is None or not _is_of(staged.target, record):
                staged = await self._stage(session, record.generation, record.root, record.size)
            else:  # what is new may be more by now: another plan has been put in place since
                staged = await stage(staged.target, session, self._node)
            refused = await verify(staged, self._node)
        if refused:
            raise NotTakenError(tuple(refused))
        self._staged = None
        return staged.target.committed(signed, record)

    async def _stage(self, session: Session, number: int, root: str, size: int) -> Staged:
        answer = await session.bundle(number)
        if answer.generation != number:
            raise BundleError(f"the bundle is of generation {answer.generation}, not {number}")
        return await stage(target_from(answer, self._config.node, root, size), session, self._node)


def _is_of(target: Target, record: CommitRecord) -> bool:
    return (target.generation, target.root) == (record.generation, record.root)
