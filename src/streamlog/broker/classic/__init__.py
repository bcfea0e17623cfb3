"""Groups under the classic protocol: join, sync, heartbeat, leave. Source: Kafka, KIP-62, KIP-345, KIP-394."""
