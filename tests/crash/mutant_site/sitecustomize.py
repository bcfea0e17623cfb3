"""Breaks streamlog in every interpreter that starts with this directory on its path, as STREAMLOG_MUTANT says."""

import os
import sys
import traceback

name = os.environ.get("STREAMLOG_MUTANT")
if name is not None:
    try:
        from tests.crash.process_mutants import MUTANTS

        # Kept open until the interpreter ends: what holds it must not be collected.
        sys.streamlog_mutant = mutant = MUTANTS[name].patch()
        mutant.__enter__()
    except BaseException:
        traceback.print_exc()
        os._exit(99)
