"""What the documents promise about themselves: links lead somewhere, and no rule of Kafka is forgotten."""

from __future__ import annotations

import inspect
import re
import runpy
from pathlib import Path

import attrs
import pytest

import streamlog
from streamlog import BrokerConfig, ConsumerConfig, ProducerConfig, TopicConfig
from streamlog.config.broker_config import _TOPIC_KEYS as BROKER_NAMES_OF_TOPIC_KEYS

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
DIFFERENCES = ROOT / "docs" / "kafka-differences.md"
DECISIONS = ROOT / "docs" / "decisions"

RULE = re.compile(r"\b([A-Z]{3})-(\d+)(?:(?:\.\.|-| to )(?:[A-Z]{3}-)?(\d+))?\b")


def cited_rules(text: str) -> set[str]:
    """The rule ids in *text*; `RET-1..3` and `RET-1 to RET-3` stand for three."""
    found = set()
    for family, first, last in RULE.findall(text):
        found.update(f"{family}-{n}" for n in range(int(first), int(last or first) + 1))
    return found | set(re.findall(r"\bC17\b", text))


def text_of_tests() -> str:
    """All tests, with the rules that a test's name cites (``test_ret_9_...``) written out."""
    text = "\n".join(p.read_text() for p in ROOT.glob("tests/**/*.py") if p != Path(__file__))
    names = "\n".join(re.findall(r"def test_\w+", text))
    cited = re.findall(r"(?<=_)([a-z]{3})_(\d+)(?=_)", names)
    return "\n".join([text, *(f"{family.upper()}-{number}" for family, number in cited)])


RULES = (ROOT / "tests" / "data" / "rule_ids.txt").read_text().split()


def test_citing_a_range_of_rules_cites_each_of_them() -> None:
    assert cited_rules("RET-1..3 and TIM-2") == {"RET-1", "RET-2", "RET-3", "TIM-2"}
    assert cited_rules("LOG-7 to LOG-8") == {"LOG-7", "LOG-8"}


def test_every_rule_is_tested_or_listed_as_a_difference() -> None:
    missing = set(RULES) - cited_rules(text_of_tests() + DIFFERENCES.read_text())
    assert sorted(missing) == [], "neither cited by a test nor in docs/kafka-differences.md"


def test_documents_cite_only_rules_that_exist() -> None:
    families = {rule.partition("-")[0] for rule in RULES}
    text = text_of_tests() + "".join(path.read_text() for path in DOCUMENTS)
    invented = {r for r in cited_rules(text) if r.partition("-")[0] in families} - set(RULES)
    assert sorted(invented) == []


def test_drawings_of_group_states_are_what_the_generator_writes() -> None:
    written = runpy.run_path(str(ROOT / "docs" / "generate_group_states.py"))["text"]()
    committed = (ROOT / "docs" / "group-states.md").read_text(encoding="utf-8")
    assert written == committed, "run python docs/generate_group_states.py"


def test_drawing_of_transaction_states_is_what_the_generator_writes() -> None:
    written = runpy.run_path(str(ROOT / "docs" / "generate_transaction_states.py"))["text"]()
    committed = (ROOT / "docs" / "transaction-states.md").read_text(encoding="utf-8")
    assert written == committed, "run python docs/generate_transaction_states.py"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", document.read_text())
    assert [t for t in targets if not (document.parent / t).exists()] == []


def test_every_decision_is_listed_in_the_index() -> None:
    index = (DECISIONS / "README.md").read_text()
    notes = [path.name for path in DECISIONS.glob("[0-9]*.md")]
    assert notes
    assert [name for name in notes if name not in index] == []


def test_source_files_named_by_the_architecture_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    files = set(
        re.findall(r"`((?:record|storage|broker|client|config|runtime|testing)/\w+\.py)`", text)
    )
    assert files
    assert [
        name for name in sorted(files) if not (ROOT / "src" / "streamlog" / name).exists()
    ] == []


def test_every_option_is_used_or_said_to_hold_by_itself() -> None:
    source = ROOT / "src" / "streamlog"
    used = "".join(p.read_text() for p in source.rglob("*.py") if "config" not in p.parts)
    explained = DIFFERENCES.read_text()
    ignored = [
        f"{config.__name__}.{field.name}"
        for config in (ProducerConfig, ConsumerConfig, TopicConfig, BrokerConfig)
        for field in attrs.fields(config)
        # A broker's log_* keys are the defaults of topic keys, which are looked at by themselves.
        if field.name not in {*BROKER_NAMES_OF_TOPIC_KEYS}
        if not re.search(rf"\b{field.name}\b", used) and f"`{field.name}`" not in explained
    ]
    assert ignored == []


def test_every_public_name_has_a_docstring() -> None:
    bare = []
    for name in streamlog.__all__:
        public = getattr(streamlog, name)
        if not (inspect.isclass(public) or inspect.isfunction(public)):
            continue
        if not (public.__doc__ or "").strip():
            bare.append(name)
        if not inspect.isclass(public):
            continue
        for attribute, member in vars(public).items():
            callable_member = inspect.isfunction(member) or isinstance(
                member, property | classmethod | staticmethod
            )
            if not attribute.startswith("_") and callable_member and not inspect.getdoc(member):
                bare.append(f"{name}.{attribute}")
    assert bare == []
