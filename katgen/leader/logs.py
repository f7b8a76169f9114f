"""One line per record on standard output, for the journal: priority, text, fields.

Fields are given as `extra={"fields": {…}}` and come out as `name=value`, quoted like JSON where
blanks or other odd characters would make that unclear.
"""

import json
import logging
import re
import sys
from typing import Final

_PLAIN: Final = re.compile(r"[\w./:@+-]+", re.ASCII)
_LONGEST: Final = 2000
_ONE_LINE: Final = {n: repr(chr(n))[1:-1] for n in (*range(32), 127, 0x85, 0x2028, 0x2029)}
"""Whatever begins a line, or moves a terminal's cursor."""
_PRIORITIES: Final = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}


class LineFormatter(logging.Formatter):
    """Makes a record one line; a traceback follows as further ones of the same priority."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text."""
        prefix = f"<{_PRIORITIES.get(record.levelno, 5)}>"
        fields = getattr(record, "fields", {})
        said = record.getMessage()[:_LONGEST].translate(_ONE_LINE)
        text = " ".join([said, *(f"{k}={value(v)}" for k, v in fields.items())])
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return "\n".join(f"{prefix}{line}" for line in text.splitlines())


def value(given: object) -> str:
    """Return a field's value as one word."""
    text = str(given)[:_LONGEST]
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


def start() -> None:
    """Send what is logged to standard output."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)  # we write our own
