"""streamlog: an embeddable, single-process Kafka."""
