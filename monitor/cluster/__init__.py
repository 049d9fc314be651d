"""Beyond one machine: the same engine on NATS JetStream (docs/cluster.md)."""

from importlib.util import find_spec

from monitor.core.errors import ConfigError

if find_spec("nats") is None:
    raise ConfigError("the cluster needs nats-py: pip install 'foretrace[cluster]'")
