"""Which references of images, signals and capabilities are taken."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from katgen.model.types import Capability, ImageRef, Signal


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (ImageRef, "nginx"),
        (ImageRef, "localhost:5000/a/b__c.d-e--f:V1.2_3-4"),
        (ImageRef, "[2001:db8::1]:5000/shop/web"),
        (ImageRef, f"Registry.example/shop/web:1@sha256:{'0a' * 32}"),
        (ImageRef, f"nginx:{'t' * 128}"),
        (Signal, "SIGWINCH"),
        (Signal, "SIGRTMIN"),
        (Signal, "SIGRTMAX-14"),
        (Capability, "ALL"),
        (Capability, "CAP_CHECKPOINT_RESTORE"),
        (Capability, "BPF"),
    ],
)
def test_it_is_taken_as_it_is(kind: Any, text: str) -> None:  # noqa: ANN401 -- an annotated type
    assert TypeAdapter(kind).validate_python(text) == text
