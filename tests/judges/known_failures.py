"""The tests of others that fail, and why that is so. ``docs/kafka-differences.md`` says the same in the words of a user."""

from __future__ import annotations

_NO_ACLS = "access control: there is none (no ACLs)"

KAFKA_PYTHON = {
    "test_admin_integration::test_create_describe_delete_acls": _NO_ACLS,
    "test_admin_integration::test_alter_replica_log_dirs": "a data directory is one folder",
    "test_admin_integration::test_alter_partition_reassignments": "there is one broker",
}

LIBRDKAFKA = {
    "0052": "message formats 0 and 1: batches of magic 2 only, as in Kafka 4",
    "0081": _NO_ACLS,
    "0092": "message.format.version: batches of magic 2 only, as in Kafka 4",
}

LIBRDKAFKA_NEWEST = dict(LIBRDKAFKA)

LIBRDKAFKA["0107 (noautocreate)"] = (
    "waits for ever in rd_kafka_destroy; with the newest library it passes"
)
