"""What `streamlog dump` shows of each kind of file: `log_file`, `index_files` and `plain_files`, as `Line`s."""

from streamlog.cli.dumping.line import Line

__all__ = ["Line"]
