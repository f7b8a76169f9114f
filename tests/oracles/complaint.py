"""What every judge returns."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Complaint:
    """A tool's refusal of a file, in the tool's own words."""

    tool: str
    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.tool}: {self.path}: {self.text}"


def complaints_from(tool: str, path: str, output: str) -> list[Complaint]:
    """Return a complaint for each line of a tool's output."""
    return [Complaint(tool, path, line) for line in output.splitlines() if line.strip()]
