from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from agent.ports import Container, PullError
from tests.fakes.trace import Trace


@dataclass(slots=True)
class FakePodman:
    """`registry`: digest by reference. `local`: digest by the name under which it is here.

    `refusals`: text of the registry by reference, instead of an image. `running` by name.
    """

    trace: Trace = field(default_factory=Trace)
    registry: dict[str, str] = field(default_factory=dict)
    local: dict[str, str] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    running: dict[str, Container] = field(default_factory=dict)

    async def pull(self, image: str, policy: str, timeout_s: float) -> AsyncGenerator[str, None]:
        del timeout_s
        self.trace.note("podman.pull", image, changes=True)
        if policy == "Never" or (policy == "IfNotPresent" and image in self.local):
            if image not in self.local:
                raise PullError(f"{image}: not on this node, and the policy is Never")
            return
        yield f"Trying to pull {image}..."
        if image in self.refusals or image not in self.registry:
            raise PullError(self.refusals.get(image, f"{image}: manifest unknown"))
        self.local[image] = self.registry[image]

    async def digest(self, image: str) -> str | None:
        self.trace.note("podman.digest", image)
        return self.local.get(image)

    async def containers(self) -> Sequence[Container]:
        self.trace.note("podman.containers")
        return tuple(self.running[name] for name in sorted(self.running) if name.startswith("kat."))

    async def remove(self, name: str) -> None:
        known = next((one for one in self.running.values() if name in (one.id, one.name)), None)
        self.trace.note("podman.remove", known.name if known else name, changes=True)
        if known:
            del self.running[known.name]

    async def images(self) -> Mapping[str, Sequence[str]]:
        self.trace.note("podman.images")
        return {self._id(name): (name,) for name in self.local}

    async def remove_image(self, reference: str) -> bool:
        self.trace.note("podman.remove_image", reference, changes=True)
        names = [n for n in self.local if reference in (n, self._id(n))]
        if any(one.image_id in map(self._id, names) for one in self.running.values()):
            return False
        for name in names:
            del self.local[name]
        return True

    async def version(self) -> str:
        self.trace.note("podman.version")
        return "5.4.2"

    def appear(self, name: str, unit: str, image: str = "") -> None:
        """Let a container of KAT's run; FakeSystemd does so when a unit starts."""
        labels = {"PODMAN_SYSTEMD_UNIT": unit, "kat.instance": name}
        self.running[name] = Container(
            name, f"id-of-{name}", running=True, unit=unit, image_id=self._id(image), labels=labels
        )

    def intrude(self, name: str, unit: str = "", **labels: str) -> None:
        """Let a container run that is not KAT's, whatever its name."""
        self.running[name] = Container(
            name, f"id-of-{name}", running=True, unit=unit, image_id="", labels=labels
        )

    def vanish(self, name: str) -> None:
        """Let a container end and be removed, as at the stop of its unit."""
        self.running.pop(name, None)

    def ail(self, name: str, health: str) -> None:
        """Give a container a health, as its check would: `healthy`, `unhealthy`, `starting`."""
        self.running[name] = replace(self.running[name], health=health)

    def _id(self, image: str) -> str:
        return f"image-of-{image}" if image else ""
