"""The cluster's metadata as ZooKeeper showed it: a tree of paths, to be looked at.

`tree.py` walks it, `node.py` is one place in it, `values.py` has the JSON of each kind of node, and `projection.py` makes the tree
of one broker out of what that broker knows. Nothing here is stored: every look is at the broker's state of that moment.
"""

from streamlog.broker.metadata_tree.node import Node
from streamlog.broker.metadata_tree.tree import MetadataTree

__all__ = ["MetadataTree", "Node"]
