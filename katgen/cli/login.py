"""`katcall login`."""

import click
import msgspec

from katgen.cli import inputs, options
from katgen.cli.connection import Leader, Request, path
from katgen.cli.contexts import (
    Chosen,
    Context,
    Contexts,
    load,
    location,
    replace_ca,
    replace_token,
    save,
    with_context,
)
from katgen.cli.failures import failure
from katgen.cli.output import Form, print_json, remark, say
from katgen.cli.tables import aligned

_EPILOG = """\b
  katcall login                                             the contexts that there are
  katcall login --server https://10.0.0.1:9115 --ca ca.crt --token-file token
  pass kat | katcall login shop --server https://10.0.0.1:9115 --token-file -
  katcall login shop                                        makes it the current one

They are kept in ~/.config/kat/config.json (KATCALL_CONFIG names another file), 0600.
KATCALL_CONTEXT chooses one, like --context; KATCALL_SERVER, KATCALL_CA (a file) and KATCALL_TOKEN
stand in for its parts, and need no file."""


class _Version(msgspec.Struct):
    cluster: str = ""


@click.command("login", short_help="Say which leader to ask, and as whom.", epilog=_EPILOG)
@click.argument("name", default="")
@click.option("--server", default="", metavar="URL", help="https://ADDRESS:9115")
@click.option("--ca", default="", metavar="FILE", help="The CA certificate to trust, and no other.")
@click.option("--token-file", default="", metavar="FILE", help="The token; - for standard input.")
@options.form
@options.ending
def command(name: str, server: str, ca: str, token_file: str, form: Form) -> None:
    """Add or change the context NAME and make it the current one, or list them all.

    What is not given stays as it is. The leader is asked before anything is written.
    """
    known = load()
    if not (name or server or ca or token_file):
        _list(known, form)
        return
    found = known.contexts.get(name or known.current, Context(""))
    if server and server != found.server:
        found = Context(server)  # another leader is not shown this one's token
    if ca:
        found = replace_ca(found, inputs.read_one(ca))
    if token_file:
        found = replace_token(found, inputs.read_one(token_file).decode(errors="replace"))
    if not found.server:
        raise failure(f"there is no context {name!r}", "--server says where its leader is")
    cluster = Leader(Chosen(name, found)).ask(Request(path("version")), _Version).cluster
    name = name or (known.current if not server else cluster) or "default"
    save(with_context(known, name, found))
    if form is Form.JSON:
        print_json({"context": name, "server": found.server, "cluster": cluster})
    else:
        say(f"context {name}: cluster {cluster} at {found.server}")


def _list(known: Contexts, form: Form) -> None:
    if form is Form.JSON:
        servers = {name: {"server": one.server} for name, one in known.contexts.items()}
        print_json({"current": known.current, "contexts": servers})
    elif not known.contexts:
        remark(f"{location()} has no context; katcall login --help shows how to add one")
    else:
        rows = [
            ("*" if name == known.current else "", name, one.server)
            for name, one in known.contexts.items()
        ]
        for line in aligned(("", "NAME", "SERVER"), rows):
            say(line)
