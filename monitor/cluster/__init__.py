"""Beyond one machine: the same engine on NATS JetStream (docs/cluster.md)."""
