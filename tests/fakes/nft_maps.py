"""nft's maps and chains of KAT's tables, as far as element operations go: a small model."""

import re
from dataclasses import dataclass, field

from agent.endpoints.elements import OBJECTS, Elements

_ELEMENTS = re.compile(
    r"(add|delete|destroy) element (?:inet kat )?(bridge kat \S+|\S+) \{(.*?)\}\n", re.DOTALL
)
_CHAIN = re.compile(r"(add|flush|delete) chain inet kat (\S+)\n")
_RULE = re.compile(r"add rule inet kat (\S+) .*\n")
_COMMENT = re.compile(r"^\s*#.*\n", re.MULTILINE)


class ModelError(Exception):
    """The kernel refuses it; nothing of the transaction holds."""


@dataclass(slots=True)
class Maps:
    """By name: elements by key. A chain is the number of its rules.

    The names of what is in `table bridge kat` begin so.
    """

    maps: dict[str, dict[str, str]] = field(default_factory=dict)
    chains: dict[str, int] = field(default_factory=dict)

    def elements(self) -> Elements:
        """Return the elements of endpoint state."""
        return Elements(*(dict(self.maps.get(name, {})) for name in OBJECTS))

    def others(self) -> dict[str, list[str]]:
        """Return the keys of elements that are none of endpoint state."""
        return {
            name: sorted(of) for name, of in sorted(self.maps.items()) if of and name not in OBJECTS
        }

    def carry_out(self, text: str) -> None:
        """Do what `nft -f` does, all or nothing. Raises ModelError."""
        maps = {name: dict(elements) for name, elements in self.maps.items()}
        work, at, text = Maps(maps, dict(self.chains)), 0, _COMMENT.sub("", text)
        while at < len(text):
            at = work._command(text, at)
        if any(verdict.split()[1] not in work.chains for verdict in work._verdicts()):
            raise ModelError("Could not process rule: No such file or directory")
        self.maps, self.chains = work.maps, work.chains

    def _verdicts(self) -> list[str]:
        return list(self.maps.get("services", {}).values())

    def _command(self, text: str, at: int) -> int:
        if found := _CHAIN.match(text, at):
            self._chain(found[1], found[2])
        elif found := _RULE.match(text, at):
            self.chains[found[1]] += 1
        elif found := _ELEMENTS.match(text, at):
            for one in found[3].split(","):
                key, _, value = one.strip().partition(" : ")
                self._element(found[1], found[2], key, value)
        else:
            raise ModelError(f"syntax error: {text[at : at + 80]!r}")
        return found.end()

    def _chain(self, verb: str, name: str) -> None:
        if verb != "add" and name not in self.chains:
            raise ModelError("Could not process rule: No such file or directory")
        if verb == "delete":
            del self.chains[name]
        else:
            self.chains[name] = 0 if verb == "flush" else self.chains.get(name, 0)

    def _element(self, verb: str, name: str, key: str, value: str) -> None:
        there = self.maps.setdefault(name, {})
        if verb == "delete" and key not in there:
            raise ModelError("Could not process rule: No such file or directory")
        if verb == "add" and there.get(key, value) != value:
            raise ModelError("Could not process rule: File exists")
        if verb == "add":
            there[key] = value
        else:
            there.pop(key, None)
