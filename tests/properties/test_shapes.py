"""Whatever text the encoders take, a node takes the lines that come of it."""

import pytest

from agent.shapes.container import asked
from tests.properties.hostile import texts
from tests.properties.test_hostile import PATHS, PLACES, written
from tests.unit.agent.cluster import instance

VALUES = 2_000
WEB = instance(0, 1)


@pytest.mark.parametrize("name", PLACES)
def test_a_node_refuses_no_text_that_kat_can_write(name: str) -> None:
    one = PLACES[name]
    arrived = 0
    for text in texts(len(name), VALUES):
        value = f"/{text}" if name in PATHS else text
        unit = written(one, value) if one.shape(value) else None
        if unit is not None:
            assert asked(WEB.path, WEB.content.decode() + unit).faults == (), ascii(value)
            arrived += 1
    assert arrived > VALUES // 4
