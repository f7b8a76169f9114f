"""From the files that a command names to validated objects."""

from katgen import parse, validate
from katgen.cli import inputs
from katgen.cli.options import Named


def checked(named: Named) -> validate.Checked:
    """Return the outcome of validating all files together. May raise SpecError."""
    paths = [*named.files, *filter(None, (named.cluster, named.nodes))]
    return validate.check(parse.parse(inputs.read(paths)))
