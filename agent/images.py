"""Images that new instances need, had before anything is stopped for them."""

from collections.abc import Iterable
from contextlib import aclosing
from typing import Final

from agent.ports import NodePorts, PullError, UnfitError
from agent.quadlet import last_value

PULL_S: Final = 600
"""Of one image; Podman keeps the layers that came whole, so that the next try takes less."""
_HERE: Final = "localhost/"
_BUILT: Final = (".build", ".image")
"""Quadlet's own way to name what another unit makes."""


async def have_images(node: NodePorts, texts: Iterable[str]) -> None:
    """Pull what is missing of the images in these Quadlet files. Raises UnfitError.

    Most often all are here: the leader had them pulled before it committed. One question for each.
    """
    for image in sorted({image for text in texts if (image := _pulled(text))}):
        if await node.podman.digest(image) is None:
            await _pull(node, image)


def _pulled(text: str) -> str:
    """Return the image of a file if it comes from a registry, else ''."""
    image = last_value(text, "Container", "Image").replace("%%", "%")
    if not image or "$" in image or image.startswith(_HERE) or image.endswith(_BUILT):
        return ""
    # By digest, `never` only says that Podman shall not look again as it starts.
    never = last_value(text, "Container", "Pull") == "never"
    return "" if never and "@" not in image else image


async def _pull(node: NodePorts, image: str) -> None:
    try:
        async with aclosing(node.podman.pull(image, "IfNotPresent", PULL_S)) as progress:
            async for _ in progress:
                pass
    except PullError as err:
        what = f"{image} cannot be pulled: {err}; what ran before runs on"
        raise UnfitError(what) from err
