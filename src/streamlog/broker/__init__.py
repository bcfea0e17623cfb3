"""One broker: topics, partitions, coordinators, maintenance.

Read ``partition.py`` first, then ``topic_registry.py`` and ``broker.py``.
"""
