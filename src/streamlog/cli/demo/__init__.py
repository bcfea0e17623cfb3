"""`streamlog demo`, which `make demo` runs: every flight that left New York in 2013 through a topic on disk.

`flights` has the data, or makes some up; `job` streams and checks them; `command` shows how it goes.
"""
