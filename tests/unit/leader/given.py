"""Objects as users write them, a clock that stands, and a key."""

from katgen.leader.documents import ObjectKey
from katgen.leader.objects import Objects
from katgen.leader.secrets import SecretBox
from katgen.leader.store import Store
from katgen.parse import Parsed, parse

BOX = SecretBox(bytes(range(32)))
NOW = 1_800_000_000.0
NOW_SHOWN = "2027-01-15T08:00:00Z"


class StandingClock:
    def now(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(f"nothing here waits {seconds} s")


def objects_in(store: Store) -> Objects:
    return Objects(store, BOX, StandingClock())


def read(*texts: str) -> Parsed:
    return parse([("test.kat", "\n---\n".join(texts).encode())])


def workload(name: str = "web", extra: str = "", image: str = "localhost/web:1") -> str:
    """Return a Service's text; `extra` are further lines of its spec."""
    return f"""
apiVersion: kat/v1alpha1
kind: Workload
metadata: {{name: {name}}}
spec:
  type: Service
  source: {{image: "{image}"}}
  {extra}
"""


def config(name: str = "conf", content: str = "a") -> str:
    return f"""
apiVersion: kat/v1alpha1
kind: Config
metadata: {{name: {name}}}
data: {{file: "{content}"}}
"""


def secret(name: str = "db", value: str = "hunter2") -> str:
    return f"""
apiVersion: kat/v1alpha1
kind: Secret
metadata: {{name: {name}}}
data: {{password: "{value}"}}
"""


def balancer(name: str = "web") -> str:
    return f"""
apiVersion: kat/v1alpha1
kind: VirtualLoadBalancer
metadata: {{name: {name}}}
spec: {{ports: [{{port: 80}}]}}
"""


WITH_CONFIG = """container: {volumeMounts: [{name: c, mountPath: /c}]}
  volumes: [{name: c, config: {name: conf}}]"""


def key(kind: str, name: str, namespace: str = "default") -> ObjectKey:
    return ObjectKey(kind, namespace, name)
