"""Compaction: of each key the newest record stays (CMP-1 to CMP-9).

A pass, in ``cleaning.py``, goes through a log twice: once through the part that no pass saw yet, to find the newest offset of each key
(``key_map.py``), and then through all of it, to copy what stays into new files (``repacker.py``), each in place of a few old ones
(``segment_group.py``, ``segment_swap.py``).
"""
