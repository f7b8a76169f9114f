"""What the README tells of a machine is what happens on one."""

from tests import story
from tests.docs.blocks import is_match
from tests.lab import host

FIRST_NODE = "one machine"


def test_the_readme_s_story_of_one_machine_is_true() -> None:
    with host("alpha", kat=True) as node:
        story.prepare(node, "simple-service")
        told = list(story.tell(node, FIRST_NODE))
    assert len(told) > 8
    for one in told:
        shown = "\n".join(one.command.output)
        printed = "\n".join(one.printed)
        assert is_match(one.command.output, one.printed), (
            f"README.md:{one.command.line}: {one.command.text}\n{shown}\nprinted:\n{printed}"
        )
