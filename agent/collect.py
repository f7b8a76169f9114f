"""Delete what no kept generation needs: old generations, their contents, their images."""

from collections.abc import Iterable, Iterator
from typing import Final

from agent import state
from agent.ports import Files, NodePorts, UnfitError
from agent.quadlet import last_value
from agent.target import kept, kept_folders
from katgen.bundle import Entry

KEPT: Final = 5


async def collect(node: NodePorts) -> None:
    """Keep the last generations and what is in place; delete the rest. While nothing is staged.

    An image goes with the last generation that named it, unless a container uses it: images that
    KAT never used are never touched. Nothing is deleted if anything kept cannot be read.
    """
    files = node.files
    applied = state.load(files, state.APPLIED, state.Applied)
    if applied is None or files.stat(state.JOURNAL) is not None:
        return
    folders = kept_folders(files)
    stay = {*folders[-KEPT:], applied.files}
    old = [folder for folder in folders if folder not in stay]
    entries = [*applied.entries, *_entries(files, stay)]
    digests = {entry.digest for entry in entries}
    images = _images(files, entries)
    left = _images_of_old(files, old) - images
    for folder in old:
        files.delete_tree(f"{state.GENERATIONS}/{folder}")
    for path in _unneeded(files, digests):
        files.delete(path)
    for image in sorted(left):
        await node.podman.remove_image(image)


def _entries(files: Files, folders: Iterable[str]) -> Iterator[Entry]:
    for folder in sorted(folders):
        yield from kept(files, folder).entries.values()


def _images(files: Files, entries: Iterable[Entry]) -> set[str]:
    """Return the images that instances run, as their files name them."""
    found = set()
    for digest in {e.digest for e in entries if e.path.endswith(".container")}:
        text = state.content(files, digest).decode(errors="replace")
        found.add(last_value(text, "Container", "Image"))
    return found - {""}


def _images_of_old(files: Files, folders: Iterable[str]) -> set[str]:
    """Return the images of generations that go; one that is damaged names none."""
    found: set[str] = set()
    for folder in folders:
        try:
            found |= _images(files, kept(files, folder).entries.values())
        except UnfitError:
            continue
    return found


def _unneeded(files: Files, digests: set[str]) -> Iterator[str]:
    for folder in files.folders(state.CONTENT):
        for path in files.list(folder):
            if path.rpartition("/")[2] not in digests:
                yield path
