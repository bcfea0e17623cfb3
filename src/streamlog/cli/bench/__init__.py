"""`streamlog bench`: Kafka's performance tools for a producer and a consumer (CLI-4).

`statistics` counts while a run is on, `payloads` makes what is sent, `charts` draws; `produce` and
`consume` are the commands, `group` their table.
"""
