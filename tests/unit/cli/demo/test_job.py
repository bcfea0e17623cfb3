from __future__ import annotations

import pytest

from streamlog import Broker, Consumer
from streamlog.cli.demo import job
from streamlog.cli.demo.flights import made_up_flights
from streamlog.cli.demo.job import Totals, consume, differences, produce


def test_what_the_consumers_add_up_agrees_with_the_data() -> None:
    flights = made_up_flights(3000).flights
    advanced: list[int] = []
    with Broker() as broker:
        produce(broker, flights, advanced.append)
        assert advanced == [1000, 1000, 1000]
        found, seen = consume(broker, len(flights), advanced.append)
    assert sum(seen) == 3000
    assert differences(found, Totals.of(flights)) == []
    assert sum(advanced) == 6000


def test_a_wrong_total_is_reported_as_a_difference() -> None:
    expected, found = Totals(), Totals()
    for totals in (expected, found):
        totals.add("UA", 5)
        totals.add("AA", None)
    assert differences(found, expected) == []
    found.add("UA", 5)
    assert differences(found, expected) == [
        "UA: from the topic [2, 2, 10], from the data [1, 1, 5]"
    ]
    found.add("XX", None)
    assert differences(found, expected)[1] == "XX: from the topic [1, 0, 0], from the data None"


def test_a_consumer_that_fails_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(Consumer):
        made = 0

        def __init__(self, *arguments: object, **options: object) -> None:
            Failing.made += 1
            if Failing.made == 2:
                raise ValueError("no more consumers")
            super().__init__(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(job, "Consumer", Failing)
    with Broker() as broker:
        produce(broker, made_up_flights(10).flights, lambda _: None)
        with pytest.raises(ValueError, match="no more consumers"):
            consume(broker, 11, lambda _: None)
