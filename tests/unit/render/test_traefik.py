"""Traefik's dynamic file."""

from typing import Any

import pytest
import yaml

from katgen.bundle import Activation
from katgen.errors import EncodeError
from katgen.render import traefik
from katgen.render.traefik_words import quoted, rule
from katgen.render.view import NamespaceView
from tests import cuts

CLUSTER = cuts.cluster()
AT_A = {"0": ("a", "10.100.1.10")}


def namespace(name: str, *ingress: dict[str, Any], virtual: str = "10.101.0.5") -> NamespaceView:
    """Return a namespace with one workload `web` and its ingresses."""
    ports = [{"port": 80, "targetPort": 8080}, {"port": 8443}]
    web = cuts.balanced(
        cuts.workload(f"{name}/web", AT_A), virtual, {"ports": ports, "ingress": list(ingress)}
    )
    return cuts.namespace_view(CLUSTER, name, [web])


SHOP = namespace(
    "shop",
    {"host": "shop.example", "servicePort": 80, "tls": {"secretName": "cert"}},
    {"host": "*.shop.example", "path": "/api", "servicePort": 8443},
)
TEXT = r"""# Managed by KAT; an edit is reported as drift.
http:
  routers:
    "shop.web.0":
      rule: "Host(`shop.example`)"
      priority: 1097729
      service: "shop.web.80"
      tls: {}
    "shop.web.1":
      rule: "HostRegexp(`^[^.]+\\.shop\\.example$`) && (Path(`/api`) || PathPrefix(`/api/`))"
      priority: 57348
      service: "shop.web.8443"
  services:
    "shop.web.80":
      loadBalancer:
        servers:
          - url: "http://10.101.0.5:80"
    "shop.web.8443":
      loadBalancer:
        servers:
          - url: "http://10.101.0.5:8443"
tls:
  certificates:
    - certFile: "/run/kat/ingress/shop/cert/tls.crt"
      keyFile: "/run/kat/ingress/shop/cert/tls.key"
"""


def test_an_ingress_is_a_router_a_service_and_a_certificate() -> None:
    (shared,) = traefik.shared([SHOP])
    assert shared.path == "/var/lib/kat/ingress/traefik/kat.yaml"
    assert shared.activation is Activation.PROXY
    assert shared.content.decode() == TEXT


def test_without_an_ingress_there_is_no_file() -> None:
    assert traefik.shared([namespace("shop")]) == ()


def test_equal_names_in_two_namespaces_stay_apart() -> None:
    one = {"host": "a.example", "servicePort": 80}
    views = [namespace("one", one), namespace("two", one, virtual="10.101.0.6")]
    (shared,) = traefik.shared(views)
    http = yaml.safe_load(shared.content)["http"]
    assert sorted(http["routers"]) == ["one.web.0", "two.web.0"]
    assert {s["loadBalancer"]["servers"][0]["url"] for s in http["services"].values()} == {
        "http://10.101.0.5:80",
        "http://10.101.0.6:80",
    }


def test_what_says_more_goes_first() -> None:
    hosts = [("*.example", "/"), ("*.a.example", "/"), ("b.example", "/"), ("b.example", "/x")]
    given = [{"host": h, "path": p, "servicePort": 80} for h, p in hosts]
    (shared,) = traefik.shared([namespace("shop", *given)])
    routers = yaml.safe_load(shared.content)["http"]["routers"].values()
    assert [r["priority"] for r in routers] == sorted(r["priority"] for r in routers)


@pytest.mark.parametrize(
    ("host", "path", "expected"),
    [
        ("a.example", "/", "Host(`a.example`)"),
        ("a.example", "/x/", "Host(`a.example`) && PathPrefix(`/x/`)"),
        ("a.example", "/x", "Host(`a.example`) && (Path(`/x`) || PathPrefix(`/x/`))"),
        ("*.a-b.example", "/", r"HostRegexp(`^[^.]+\.a\-b\.example$`)"),
    ],
)
def test_a_path_covers_itself_and_what_is_below_it(host: str, path: str, expected: str) -> None:
    assert rule(host, path) == expected


@pytest.mark.parametrize("text", ["`", "a`) || Host(`b", "a b", "{x}", "é", "a\n", "a\0", ""])
def test_what_a_rule_cannot_carry_is_refused(text: str) -> None:
    with pytest.raises(EncodeError, match="cannot stand in a rule of Traefik"):
        rule(text, "/")
    with pytest.raises(EncodeError, match="cannot stand in a rule of Traefik"):
        rule("a.example", f"/{text}`")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        'a"b',
        "a\\b",
        "a\nb",
        "\t",
        "\x00",
        "\x7f\x85",
        "\u2028\ufeff",
        "grün",
        "😀",
        "{{ x }}",
        "a: b #",
    ],
)
def test_a_scalar_reads_as_what_was_written(text: str) -> None:
    assert yaml.safe_load(f"key: {quoted(text)}\n") == {"key": text}


def test_half_a_character_is_no_text() -> None:
    with pytest.raises(EncodeError, match="a lone surrogate is not text"):
        quoted("a\ud800")
