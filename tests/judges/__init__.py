"""Test suites of Kafka clients, written by others, run against a broker of ours: ``make wire-judges``.

Everything is fetched from the package registries, in pinned versions, into ``.judges/``; nothing of it is committed.
"""
