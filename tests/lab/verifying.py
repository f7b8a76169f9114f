"""Run on a host, by its own Python: check a rendered folder as `kat-agent verify DIR` does.

Writes JSON: tool, path and text of each complaint; or why the machine is unfit.
"""

import asyncio
import json
import sys

from agent.machine_ports import opened
from agent.ports import UnfitError
from agent.verify import verify_folder


async def main() -> None:
    """Check the folder that the command line names."""
    async with opened() as node:
        try:
            found = await verify_folder(node, sys.argv[1])
        except UnfitError as err:
            print(json.dumps(str(err)))  # noqa: T201 -- its answer
            return
        print(json.dumps([[c.tool, c.path, c.text] for c in found]))  # noqa: T201 -- its answer


asyncio.run(main())
