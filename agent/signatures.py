"""Whether a leader's key signed a text, asked of a short-lived child.

The library that can tell takes 7 MB, and an agent needs it for less than 1 ms of each plan.
"""

import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Final

from agent.ports import UnfitError
from agent.tools import environment

CHILD_S: Final = 20
_CHILD: Final = str(Path(__file__).with_name("signature_child.py"))
_ANSWERS: Final = {40: True, 41: False}


@lru_cache(maxsize=4)
def is_signed(key: str, signature: str, text: bytes) -> bool:
    """Whether an Ed25519 signature is right; `key` is raw, both are base64. Raises UnfitError."""
    # No site: the folders in which it would look are in our own path already.
    argv = (sys.executable, "-S", "-P", _CHILD, key, signature)
    found_in = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        ran = subprocess.run(  # noqa: S603 -- our own program; the words are base64 or refused
            argv,
            input=text,
            capture_output=True,
            check=False,
            cwd="/",
            env=environment(found_in),
            timeout=CHILD_S,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as err:
        raise UnfitError(f"the signature cannot be checked: {err}") from err
    if ran.returncode not in _ANSWERS:
        said = ran.stderr.decode(errors="replace").strip().splitlines()
        why = said[-1] if said else f"the child ended with {ran.returncode}"
        raise UnfitError(f"the signature cannot be checked: {why}")
    return _ANSWERS[ran.returncode]
