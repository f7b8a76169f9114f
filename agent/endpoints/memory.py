"""What the agent remembers of endpoints: over a restart all of it, over a boot what others said.

| file | holds |
|---|---|
| `/run/kat/endpoints.json` | all records, at most a second old |
| `/var/lib/kat/agent/endpoints.json` | others' records, written with the boot snapshots |

Records do not expire (spec §6.3): after a boot without a leader other nodes' instances are what
they were. Own ones start anew.
"""

import logging
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec.structs import replace

from agent import state
from agent.endpoints.records import Memory, Records
from agent.ports import Files, UnfitError

MEMORY: Final = "/run/kat/endpoints.json"
LASTING: Final = f"{state.AGENT}/endpoints.json"

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Remembering:
    """Writes what differs from what it wrote last."""

    files: Files
    records: Records
    _written: tuple[int, int] | None = None
    _lasting: int | None = None

    def recall(self) -> None:
        """Have the records as they were; what is damaged says nothing."""
        memory, lasting = self._load(MEMORY), self._load(LASTING)
        if memory is not None:
            self.records.recall(memory)
            self._written = (self.records.said, self.records.heard)
        elif lasting is not None:
            self.records.recall(replace(lasting, own=()))
        kept = lasting.others if lasting else ()
        is_last = kept == self.records.memory().others
        self._lasting = self.records.heard if is_last else None

    def _load(self, path: str) -> Memory | None:
        try:
            return state.load(self.files, path, Memory)
        except UnfitError as err:  # probes and leader say all of it anew
            _log.warning("%s, ignoring", err)
            return None

    @property
    def is_due(self) -> bool:
        """Whether there is something to remember over a restart."""
        return self._written != (self.records.said, self.records.heard)

    def remember(self) -> None:
        """Write what a restart needs. Raises UnfitError."""
        if self.is_due:
            now = (self.records.said, self.records.heard)
            self.files.write(MEMORY, msgspec.json.encode(self.records.memory()), state.PRIVATE)
            self._written = now

    def last(self) -> None:
        """Write what a boot needs. Raises UnfitError."""
        if self._lasting != self.records.heard:
            memory = replace(self.records.memory(), own=())
            self.files.write(LASTING, msgspec.json.encode(memory), state.PRIVATE)
            self.files.flush([state.AGENT])
            self._lasting = self.records.heard
