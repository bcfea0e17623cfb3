from __future__ import annotations

import pytest

from tests.support.cli import Terminal


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()
