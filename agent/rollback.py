"""Back to the generation before, by hand and with no leader; and on again."""

from agent import state
from agent.apply import Outcome, apply
from agent.ports import NodePorts, UnfitError
from agent.target import kept, kept_folders


async def roll_back(node: NodePorts) -> Outcome:
    """Put the previous generation in place and hold it there; the high-water mark stays.

    What is verified once stays so: no tool is asked. Raises UnfitError if there is none to go to.
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
    files.write(state.HOLD, b"", state.PRIVATE)
    files.flush([state.AGENT])
    return await apply(target, node)


def lift_hold(node: NodePorts) -> bool:
    """Let leaders be followed again; return whether they were not."""
    held = state.is_held(node.files)
    if held:
        state.forget(node.files, state.HOLD)
    return held
