"""Back to the generation before, by hand and with no leader; and on again."""

from agent import state
from agent.apply import Outcome, apply
from agent.policy import complaints, load_policy
from agent.ports import Files, NodePorts, UnfitError
from agent.target import Target, kept, kept_folders


async def roll_back(node: NodePorts) -> Outcome:
    """Put the previous generation in place and hold it there; the high-water mark stays.

    What is verified once stays so: no tool is asked; but the node's policy may have become another.
    Raises UnfitError if there is none to go to, or it cannot be.
    """
    files = node.files
    applied = state.load(files, state.APPLIED, state.Applied)
    if applied is None:
        raise UnfitError("nothing is applied on this node yet: there is nothing to go back to")
    folders = kept_folders(files)
    before = folders[: folders.index(applied.files)] if applied.files in folders else ()
    if not before:
        raise UnfitError(f"no generation before {applied.files} is kept on this node")
    target = kept(files, before[-1])
    refused = complaints(load_policy(files), _texts(files, target))
    if refused:
        said = "; ".join(f"{one.path}: {one.text}" for one in refused)
        raise UnfitError(f"generation {before[-1]} is beyond {state.POLICY}: {said}")
    files.write(state.HOLD, b"", state.PRIVATE)
    files.flush([state.AGENT])
    return await apply(target, node)


def _texts(files: Files, target: Target) -> dict[str, tuple[str, str]]:
    """Return what the policy is about: not what lies below /var/lib/kat, which no program obeys."""
    return {
        path: (one.digest, state.content(files, one.digest).decode(errors="surrogateescape"))
        for path, one in target.entries.items()
        if not path.startswith(f"{state.ROOT}/")
    }


def lift_hold(node: NodePorts) -> bool:
    """Let leaders be followed again; return whether they were not."""
    held = state.is_held(node.files)
    if held:
        state.forget(node.files, state.HOLD)
    return held
