"""Groups: members of both protocols, their offsets, and looks from outside.

All of it runs in threads of its own: the first look at a group reads its partition of the offsets topic, and a commit may wait for a disk.
Members here and in this process are in the same groups, for the coordinator is the same.
"""
