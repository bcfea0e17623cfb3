"""The whole public surface against lists and dicts: any program of calls, time, kills and power cuts (L6).

One broker on a disk whose power can be cut, in virtual time, with segments so small that rare paths are
common. After every step the logs hold what was sent and nothing else, each structure's ``_check()`` holds,
and a consumer is where a list index would be (I1 to I7, I12, I13, I17, I18).

``make model EXAMPLES=20000`` tries harder. A failure prints the steps as a program, and a line that repeats it.
"""

from __future__ import annotations

import logging
import os

import pytest
from hypothesis import HealthCheck, settings

from tests.support.model_rules.care import CareRules
from tests.support.model_rules.consuming import ConsumerRules
from tests.support.model_rules.life import LifeRules
from tests.support.model_rules.producing import ProducerRules
from tests.support.model_rules.reading import ReadingRules
from tests.support.model_rules.topics import TopicRules


class Machine(LifeRules, TopicRules, ProducerRules, ConsumerRules, CareRules, ReadingRules):
    """All rules together."""


@pytest.mark.slow
@pytest.mark.timeout(0)
class TestModel(Machine.TestCase):
    """What `unittest` calls; the programs are Hypothesis's."""

    settings = settings(
        max_examples=int(os.environ.get("MODEL_EXAMPLES", "0")) or settings().max_examples,
        stateful_step_count=50,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )

    def setUp(self) -> None:
        logging.disable()  # dying is the rule here, and each time is worth a warning

    def tearDown(self) -> None:
        logging.disable(logging.NOTSET)
