from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from agent.ports import Ran, UnfitError
from tests.fakes.files import FakeFiles
from tests.fakes.quadlet import RefusalError, services
from tests.fakes.trace import Trace

Answer = Callable[[Sequence[str], Mapping[str, str]], Ran]
FINE = Ran(0, "", "")


@dataclass(slots=True)
class FakeTools:
    """Programs that find nothing wrong, and a Quadlet that makes services.

    `answers`: another program, by the last part of its path. `refusals`: stderr by a part of the
    command line; exit code 1. `missing`, `hanging`: programs that are not there, or never end.
    """

    files: FakeFiles = field(default_factory=FakeFiles)
    trace: Trace = field(default_factory=Trace)
    answers: dict[str, Answer] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    hanging: set[str] = field(default_factory=set)

    async def run(
        self, argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str], stdin: bytes = b""
    ) -> Ran:
        del stdin  # what a program reads of it is the matter of its own fake
        line = " ".join(argv)
        self.trace.note("tools.run", line)
        program = argv[0].rpartition("/")[2]
        if program in self.missing:
            raise UnfitError(f"{argv[0]} is not installed; install it")
        if program in self.hanging:
            raise UnfitError(f"{argv[0]} has not ended after {timeout_s:g} s")
        for part, text in self.refusals.items():
            if part in line:
                return Ran(1, "", text)
        if program in self.answers:
            return self.answers[program](argv, env)
        return self._quadlet(argv, env) if program == "quadlet" else FINE

    def _quadlet(self, argv: Sequence[str], env: Mapping[str, str]) -> Ran:
        """Do what `QUADLET_UNIT_DIRS=IN quadlet OUT` (or `-dryrun`) does; one bad file spoils none.

        A refused file is skipped and named on stderr.
        """
        out, said, shown = argv[-1], "", ""
        for folder in env["QUADLET_UNIT_DIRS"].split(":"):
            for name, made in services(self.files, folder):
                if isinstance(made, RefusalError):
                    said += f"quadlet-generator[1]: {made}\n"
                elif "-dryrun" in argv:
                    shown += f"---{name}---\n{made}\n"
                else:
                    self.files.put(f"{out.rstrip('/')}/{name}", made.encode())
        return Ran(1 if said else 0, shown, said)
