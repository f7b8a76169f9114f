"""Speaks to Podman for the agent, in a process of its own: `python -m agent.podman_child`.

podman-py blocks and cannot be cancelled, and with what it needs it would add 10 MB to an agent that
mostly waits. Requests come as JSON lines, `{"verb": …, …}`. Each is answered by any number of
`{"line": text}` and then `{"value": …}` or `{"error": text}`. It ends with its stdin.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TextIO
from urllib.parse import quote

from podman import PodmanClient
from podman.errors import APIError, PodmanError
from requests import RequestException

SOCKET: Final = "http+unix:///run/podman/podman.sock"
CONFLICT: Final = 409
ABSENT: Final = 404
OURS: Final = "kat."
_LOCAL: Final = "localhost/"


class FailedError(Exception):
    """Podman, or a registry, says no."""


def pull(client: PodmanClient, image: str, policy: str) -> Iterator[str]:
    """Yield progress. The answer is 200 even if the pull fails: the stream says so.

    Not by `client.images.pull`: it always says whether to verify TLS, and so overrules the node's
    registries.conf, where a registry may be declared insecure.
    """
    params = {"reference": image, "policy": policy}
    answer = client.api.post("/images/pull", params=params, stream=True, timeout=None)
    answer.raise_for_status()
    is_there = False
    for raw in answer.iter_lines():
        if not raw:
            continue
        said: Mapping[str, Any] = json.loads(raw)
        if said.get("error"):
            raise FailedError(str(said["error"]))
        if text := str(said.get("stream", "")).strip():
            yield text
        is_there = is_there or bool(said.get("id") or said.get("images"))
    if not is_there:
        raise FailedError(f"{image}: Podman ended the pull without an image and without a word")


def digest(client: PodmanClient, image: str) -> str | None:
    """Return the digest to pull by: of a list of manifests rather than of one in it."""
    answer = client.api.get(f"/images/{quote(image, safe='')}/json")
    if answer.status_code == ABSENT:
        return None
    answer.raise_for_status()
    found: Mapping[str, Any] = answer.json()
    whole = [name for name in found.get("RepoDigests") or () if not name.startswith(_LOCAL)]
    digests = [name.rpartition("@")[2] for name in whole if _is_of(name, image)] or [
        name.rpartition("@")[2] for name in whole
    ]
    asked = image.partition("@")[2]
    if asked and asked in digests:
        return asked
    lists = [one for one in digests if one != found.get("Digest")]
    return str((lists or digests or [""])[0])


def _is_of(name: str, image: str) -> bool:
    """Whether a repository is the one that a reference names; `redis` is of any registry."""
    repository = re.sub(r"(:[^/:@]*)?(@.*)?$", "", image)
    return f"/{name.partition('@')[0]}".endswith(f"/{repository}")


def containers(client: PodmanClient) -> list[dict[str, object]]:
    """Return KAT's containers."""
    found = client.containers.list(all=True, sparse=True)
    return [
        {
            "name": one.attrs["Names"][0],
            "id": one.attrs["Id"],
            "running": one.attrs["State"] == "running",
            "image_id": one.attrs["ImageID"],
            "labels": one.attrs.get("Labels") or {},
            "health": one.attrs.get("Status") or "",
        }
        for one in found
        if one.attrs["Names"][0].startswith(OURS)
    ]


def remove(client: PodmanClient, name: str) -> None:
    """Kill and remove a container, and its anonymous volumes."""
    params = {"force": True, "v": True, "timeout": 0}
    answer = client.api.delete(f"/containers/{quote(name, safe='')}", params=params)
    if answer.status_code != ABSENT:
        answer.raise_for_status()


def images(client: PodmanClient) -> dict[str, list[str]]:
    """Return names and digests by id."""
    return {
        image.attrs["Id"]: [
            *(image.attrs.get("RepoTags") or ()),
            *(image.attrs.get("RepoDigests") or ()),
        ]
        for image in client.images.list()
    }


def remove_image(client: PodmanClient, image: str) -> bool:
    """Remove an image, or one of its names; False if a container needs it."""
    answer = client.api.delete(f"/images/{quote(image, safe='')}")
    if answer.status_code == CONFLICT:
        return False
    if answer.status_code != ABSENT:
        answer.raise_for_status()
    return True


def version(client: PodmanClient) -> str:
    """Return the service's version."""
    return str(client.version()["Version"])  # type: ignore[no-untyped-call]  # theirs


_VERBS: Final[Mapping[str, Callable[..., object]]] = {
    "pull": pull,
    "digest": digest,
    "containers": containers,
    "remove": remove,
    "images": images,
    "remove_image": remove_image,
    "version": version,
}


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answer requests, one after the other, until there are no more."""
    with PodmanClient(base_url=SOCKET) as client:
        for line in requests:
            for answer in _answers(client, json.loads(line)):
                answers.write(json.dumps(answer) + "\n")
                answers.flush()


def _answers(client: PodmanClient, request: dict[str, str]) -> Iterator[dict[str, object]]:
    try:
        result = _VERBS[request.pop("verb")](client, **request)
        if isinstance(result, Iterator):
            for text in result:
                yield {"line": text}
            result = None
    except APIError as err:
        yield {"error": str(err.explanation or err.__cause__ or err)}
    except (FailedError, PodmanError, RequestException, OSError, ValueError) as err:
        yield {"error": str(err)}
    else:
        yield {"value": result}


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout)
