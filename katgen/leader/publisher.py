"""The durable side of the loop: what was committed, pinned and accepted, and the next commit."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import msgspec

from katgen.leader import history, images, planstore
from katgen.leader.agents.bundles import size_of
from katgen.leader.answers import Generation
from katgen.leader.candidate import Candidate, PlanDigester
from katgen.leader.clock import Clock, shown_time
from katgen.leader.events import generation_write
from katgen.leader.history import ACCEPTED, Accepted, Carried
from katgen.leader.images import Pin
from katgen.leader.planstore import Committed
from katgen.leader.store import Store, StoreError, Transaction
from katgen.names import WorkloadKey
from katgen.protocol import CommitRecord, SignedRecord

_LOG: Final = logging.getLogger(__name__)
EPOCH: Final = 1
"""Until there are elections."""
META: Final = "plan/meta"
_RETRY_S: Final = 2.0


class Signs(Protocol):
    """What is needed of a signer."""

    def sign(self, record: CommitRecord) -> SignedRecord:
        """Return the signed record."""


@dataclass(frozen=True, slots=True)
class Recalled:
    """What is stored of the loop's own."""

    committed: Committed | None
    uids: Mapping[WorkloadKey, str]
    pins: Mapping[WorkloadKey, Pin]


@dataclass(eq=False, slots=True)
class Publisher:
    """Loads and commits. `uid` is the cluster's."""

    store: Store
    signer: Signs
    uid: str
    clock: Clock
    _meta_revision: int = 0
    _digester: PlanDigester = field(default_factory=PlanDigester)

    async def load(self) -> Recalled:
        """Return what is stored. Raises StoreError, and SpecError if a plan cannot be read."""
        meta = await self.store.get(META)
        self._meta_revision = meta.modified if meta else 0
        committed = await planstore.load(self.store)
        accepted = await self.store.list(ACCEPTED)
        pins = await self.store.list(images.PREFIX)
        return Recalled(
            committed,
            {
                WorkloadKey(item.key.removeprefix(ACCEPTED)): msgspec.json.decode(
                    item.value, type=Accepted
                ).uid
                for item in accepted.items
            },
            {
                WorkloadKey(item.key.removeprefix(images.PREFIX)): msgspec.json.decode(
                    item.value, type=Pin
                )
                for item in pins.items
            },
        )

    async def number(self) -> int:
        """Return the number of the next proposal; it is used up, whatever becomes of it."""
        return await planstore.next_number(self.store)

    async def pin(self, pins: Mapping[WorkloadKey, Pin]) -> None:
        """Store resolutions."""
        puts = {images.store_key(key): msgspec.json.encode(pin) for key, pin in pins.items()}
        await self.store.commit(Transaction(puts))

    async def commit(
        self,
        before: Committed | None,
        candidate: Candidate,
        dropped: Collection[WorkloadKey],
    ) -> Committed | None:
        """Write a plan with its signed record; None if it is certain that it was not written.

        `dropped` are pins to forget.
        Waits out a store that does not answer: until it is known whether the record is written,
        nobody may hear of it, and nothing else may be proposed. Raises ConflictError.
        """
        after = self._signed(candidate)
        changed = candidate.changed
        transaction = planstore.transaction(before, after, changed, self._meta_revision)
        transaction = _joined(transaction, await self._own(candidate, dropped))
        transaction = _joined(transaction, generation_write(self._entry(candidate)))
        try:
            self._meta_revision = await self.store.commit(transaction)
        except StoreError as err:
            _LOG.warning("the store did not answer a commit, asking it what it has: %s", err)
            return await self._outcome(after)
        return after

    def _signed(self, candidate: Candidate) -> Committed:
        rendered, plan = candidate.rendered, candidate.plan
        record = CommitRecord(
            cluster=self.uid,
            epoch=EPOCH,
            generation=plan.generation,
            plan=self._digester.digest(plan),
            root=rendered.root.digest,
            size=size_of(rendered),
        )
        return Committed(plan, EPOCH, self.signer.sign(record))

    async def _own(self, candidate: Candidate, dropped: Collection[WorkloadKey]) -> Transaction:
        carried = Carried(candidate.want, candidate.plan.generation, self.clock.now())
        changed, planned = candidate.target.changed, candidate.plan.workloads
        kept = await history.kept(self.store, carried, (key for key in changed if key in planned))
        for key in sorted(changed - planned.keys()):
            await history.forget(self.store, key, kept)
        pins = (images.store_key(key) for key in sorted(dropped))
        return Transaction(kept.puts, (*kept.deletes, *pins))

    def _entry(self, candidate: Candidate) -> Generation:
        plan, root = candidate.plan, candidate.rendered.root
        changed = tuple(sorted(candidate.changed))
        return Generation(plan.generation, shown_time(self.clock.now()), root.digest, changed)

    async def _outcome(self, tried: Committed) -> Committed | None:
        while True:
            await self.clock.sleep(_RETRY_S)
            try:
                meta = await self.store.get(META)
                found = await planstore.load(self.store)
            except StoreError as err:
                _LOG.warning("the store does not answer, retrying in 2 s: %s", err)
                continue
            self._meta_revision = meta.modified if meta else 0
            same = found is not None and found.signed == tried.signed
            return tried if same else None


def _joined(one: Transaction, other: Transaction) -> Transaction:
    return replace(one, puts={**one.puts, **other.puts}, deletes=(*one.deletes, *other.deletes))
