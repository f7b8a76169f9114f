import pytest

from katgen.leader.images import Pin, is_valid, needs_pin, pinned, with_digest
from katgen.model.specs import WorkloadObjects
from katgen.model.workload import Workload

DIGEST = f"sha256:{'d' * 64}"
NGINX = "docker.io/library/nginx:1.27"


def objects(image: str, policy: str = "IfNotPresent", restarted: str = "") -> WorkloadObjects:
    annotations = {"kat/restarted-at": restarted} if restarted else {}
    return WorkloadObjects(
        Workload.model_validate(
            {
                "kind": "Workload",
                "metadata": {"name": "web", "annotations": annotations},
                "spec": {
                    "type": "Service",
                    "source": {"image": image},
                    "container": {"imagePullPolicy": policy},
                },
            }
        )
    )


@pytest.mark.parametrize(
    ("image", "policy", "needs"),
    [
        (NGINX, "IfNotPresent", True),
        (NGINX, "Always", True),
        (NGINX, "Never", False),
        (f"{NGINX}@{DIGEST}", "Always", False),
        ("localhost/web:1", "IfNotPresent", False),
        ("localhost:5000/web:1", "IfNotPresent", True),
    ],
)
def test_a_registry_decides_what_a_text_means_unless_a_digest_does(
    image: str, policy: str, *, needs: bool
) -> None:
    assert needs_pin(objects(image, policy)) is needs


def test_the_plan_has_the_digest_beside_the_tag() -> None:
    made = pinned(objects(NGINX), Pin(NGINX, DIGEST, with_digest(NGINX, DIGEST)))
    assert made.workload.spec.source.image == f"{NGINX}@{DIGEST}"


def test_an_image_from_no_registry_keeps_its_text() -> None:
    assert with_digest(NGINX, "") == NGINX


@pytest.mark.parametrize(
    ("policy", "restarted", "valid"),
    [("Always", "1", True), ("Always", "2", False), ("IfNotPresent", "2", True)],
)
def test_a_restart_asks_again_if_the_policy_is_always(
    policy: str, restarted: str, *, valid: bool
) -> None:
    pin = Pin(NGINX, DIGEST, f"{NGINX}@{DIGEST}", restarted="1")
    assert is_valid(pin, objects(NGINX, policy, restarted)) is valid


def test_another_text_needs_another_pin() -> None:
    pin = Pin(NGINX, DIGEST, f"{NGINX}@{DIGEST}")
    assert not is_valid(pin, objects("docker.io/library/nginx:1.28"))
