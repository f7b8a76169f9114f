"""What was asked of a fake machine, in order, and what shall go wrong."""

from collections import defaultdict
from dataclasses import dataclass, field


class KilledError(BaseException):
    """The agent ends here, as by SIGKILL: nothing of it may catch this."""


@dataclass(frozen=True, slots=True)
class Call:
    """`method` is `<port>.<name>`. `changes` says that it could change the machine."""

    method: str
    about: str
    changes: bool

    def __str__(self) -> str:
        return f"{self.method} {self.about}".rstrip()


@dataclass(slots=True)
class Trace:
    """Every call to the fakes of one machine, before it takes effect."""

    calls: list[Call] = field(default_factory=list)
    _failures: dict[str, dict[int, BaseException]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    _until_killed: int = 0

    def note(self, method: str, about: str = "", *, changes: bool = False) -> None:
        """Record a call. Raises what was ordered for it; then it has no effect."""
        if changes and self._until_killed:
            self._until_killed -= 1
            if not self._until_killed:
                raise KilledError(f"{method} {about}")
        self.calls.append(Call(method, about, changes))
        for name in (method, f"{method} {about}"):
            self._raise_if_due(name)

    def _raise_if_due(self, name: str) -> None:
        due = self._failures.get(name)
        if not due:
            return
        waiting = {nth - 1: error for nth, error in due.items() if nth > 1}
        error = due.get(1)
        self._failures[name] = waiting
        if error:
            raise error

    def fail(self, what: str, error: BaseException, nth: int = 1) -> None:
        """Have the nth call from now raise: `systemd.start`, or `systemd.start kat.a.service`."""
        self._failures[what][nth] = error

    def kill_before(self, nth: int) -> None:
        """Raise KilledError before the nth call from now that could change something.

        Cut after every single step: try 1, 2, 3, … until it is not raised any more. A change that
        was made, its answer lost, is the same as a cut before the next.
        """
        self._until_killed = nth

    def spare(self) -> None:
        """Take back `kill_before`."""
        self._until_killed = 0

    def changes(self) -> list[str]:
        """Return the calls that could change something, as text."""
        return [str(call) for call in self.calls if call.changes]

    def texts(self, prefix: str = "") -> list[str]:
        """Return the calls whose text begins so (`systemd.` are the D-Bus calls)."""
        return [str(call) for call in self.calls if str(call).startswith(prefix)]

    def clear(self) -> None:
        """Forget the calls so far."""
        self.calls.clear()
