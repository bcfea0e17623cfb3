"""The command line: `streamlog`, or ``python -m streamlog.cli``. Needs the extra ``cli`` (click, rich).

`app` holds the table of commands, one file each; `session` what all of them share; `output` how rows are
printed; `failures` how errors are. Nothing in the library imports this package. See docs/cli.md.
"""
