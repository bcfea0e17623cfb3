"""Kafka's messages from and to bytes."""
