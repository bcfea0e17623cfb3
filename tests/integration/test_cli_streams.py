"""`produce` and `consume` as processes: on a terminal, in pipes, and with Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from streamlog import Broker, Consumer, Producer, TopicPartition
from tests.support.eventually import eventually

STREAMLOG = [sys.executable, "-W", "error", "-m", "streamlog.cli"]


@pytest.fixture(autouse=True)
def _in_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STREAMLOG_DATA", "d")
    monkeypatch.setenv("TERM", "xterm")


def on_a_terminal(*arguments: str) -> pexpect.spawn:
    return pexpect.spawn(
        STREAMLOG[0], [*STREAMLOG[1:], *arguments], timeout=100, dimensions=(24, 100)
    )


def exit_code(child: pexpect.spawn) -> int | None:
    """Wait for the end; `child.before` then has what was printed since."""
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus


def run(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*STREAMLOG, *arguments], input=given, capture_output=True, timeout=100, check=False
    )


def values(topic: str = "t") -> list[bytes]:
    with Broker("d") as broker, Consumer(broker) as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        consumer.seek_to_beginning()
        found: list[bytes] = []
        while records := consumer.poll():
            found += records.values()
        return found


def test_lines_typed_at_a_prompt_are_sent_until_ctrl_d() -> None:
    child = on_a_terminal("produce", "--topic", "t")
    for line in ("hello", "test"):
        child.expect(">")
        child.sendline(line)
    child.expect(">")
    child.sendeof()
    assert exit_code(child) == 0
    assert b"2 records stored in topic 't'" in child.before
    assert values() == [b"hello", b"test"]


def test_ctrl_c_at_the_prompt_keeps_what_was_typed_and_ends_with_130() -> None:
    child = on_a_terminal("produce", "--topic", "t", "--linger-ms", "60000")
    child.expect(">")
    child.sendline("hello")
    child.expect(">")
    child.sendintr()
    assert exit_code(child) == 130
    assert b"1 record stored" in child.before
    assert b"Traceback" not in child.before
    assert values() == [b"hello"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_end_sends_what_was_read_and_ends_as_the_shell_says_it(number: int) -> None:
    """Whatever lingered in the producer was lost, and the directory had to be recovered."""
    child = on_a_terminal("produce", "--topic", "t", "--linger-ms", "60000")
    child.expect(">")
    child.sendline("hello")
    child.expect(">")
    child.kill(number)
    assert exit_code(child) == 128 + number
    assert b"1 record stored" in child.before
    assert b"Traceback" not in child.before
    with Broker("d") as broker:
        assert broker.recovery_report.clean
    assert values() == [b"hello"]


def test_a_hangup_that_is_ignored_ends_nothing() -> None:
    child = subprocess.Popen(
        ["nohup", *STREAMLOG, "produce", "--topic", "t"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdin is not None
    child.stdin.write(b"hello\n")
    child.stdin.flush()
    eventually(lambda: any(Path("d").glob("topics/t-0")))
    child.send_signal(signal.SIGHUP)
    child.communicate(b"test\n", timeout=100)
    assert child.returncode == 0
    assert values() == [b"hello", b"test"]


def test_ctrl_c_ends_a_consumer_that_follows_with_130() -> None:
    run("produce", "--topic", "t", given=b"a\nb\n")
    child = on_a_terminal("consume", "--topic", "t", "--from-beginning", "--follow")
    child.expect("a\r\nb\r\n")
    child.sendintr()
    assert exit_code(child) == 130
    assert b"Processed a total of 2 messages" in child.before
    assert b"Traceback" not in child.before


def test_ctrl_c_commits_what_a_group_printed_and_nothing_else() -> None:
    run("produce", "--topic", "t", given=b"".join(b"%d\n" % number for number in range(50_000)))
    child = on_a_terminal("consume", "--topic", "t", "--from-beginning", "--group", "g")
    child.expect("7\r\n")
    child.sendintr()
    assert exit_code(child) == 130
    said = child.before.split(b"Processed a total of ")[1]
    printed = int(said.split()[0])
    rest = run("consume", "--topic", "t", "--group", "g").stdout.split()
    assert 0 < printed < 50_000
    assert (int(rest[0]), len(rest)) == (printed, 50_000 - printed)


def test_what_is_no_text_does_not_reach_a_terminal_but_a_pipe() -> None:
    run("produce", "--topic", "t", given=b"\xff\x1b[31m\n")
    child = on_a_terminal("consume", "--topic", "t", "--from-beginning")
    assert exit_code(child) == 0
    assert rb"\xff\x1b[31m" in child.before
    done = run("consume", "--topic", "t", "--from-beginning")
    assert done.stdout == b"\xff\x1b[31m\n"


def test_a_terminal_shows_progress_and_a_pipe_does_not() -> None:
    Path("lines").write_bytes(b"some text\n" * 20_000)
    child = on_a_terminal("produce", "--topic", "t", "lines")
    child.expect("sending to t")
    assert exit_code(child) == 0
    assert b"20,000 records stored" in child.before
    done = run("produce", "--topic", "t", "lines")
    assert done.stdout == b""
    (line,) = done.stderr.splitlines()
    assert line.startswith(b"20,000 records stored in topic 't', 180,000 bytes sent in ")


def test_a_reader_that_has_read_enough_ends_it_quietly() -> None:
    # Several times what a pipe holds.
    run("produce", "--topic", "t", given=b"some text\n" * 40_000)
    consume = f"{' '.join(STREAMLOG)} consume --topic t --from-beginning --group g"
    done = subprocess.run(
        ["bash", "-c", f"{consume} | head -1; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        timeout=100,
        check=False,
    )
    assert (done.stdout, done.stderr) == (b"some text\n0\n", b"")
    # Nothing is committed that the pipe did not take.
    left = run("consume", "--topic", "t", "--group", "g", "--from-beginning").stdout
    assert left.count(b"\n") >= 20_000


def test_a_line_of_a_slow_pipe_is_stored_before_the_next_one_comes() -> None:
    process = subprocess.Popen(
        [*STREAMLOG, "produce", "--topic", "t", "--sync", "--json-lines"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    with process:
        process.stdin.write(b'{"value": "a"}\nwrong\n')
        process.stdin.flush()  # the pipe stays open: nothing waits for more
        assert process.wait(100) == 1
        process.stdin.close()
    assert values() == [b"a"]


def test_a_consumer_follows_what_another_process_writes() -> None:
    with Broker("d", log_segment_bytes=10_000) as broker, Producer(broker) as producer:
        producer.send("t1", b"before").result()
        child = on_a_terminal("consume", "--include", "t.*", "--from-beginning", "--follow")
        child.expect_exact("before\r\n")
        for number in range(3):
            producer.send("t1", b"record %d" % number).result()
            child.expect_exact(f"record {number}\r\n")
        for _ in range(1000):  # the log rolls over
            producer.send("t1", b"x" * 100)
        producer.send("t1", b"after").result()
        child.expect_exact("after\r\n")
        producer.send("t2", b"of a new topic").result()
        child.expect_exact("of a new topic\r\n")
        child.sendintr()
        assert exit_code(child) == 130
        assert b"Processed a total of 1006 messages" in child.before


def test_a_consumer_without_a_place_shows_what_is_written_from_then_on() -> None:
    with Broker("d") as broker, Producer(broker) as producer:
        producer.send("t", b"before").result()
        child = on_a_terminal(
            "consume", "--topic", "t", "--timeout-ms", "60000", "--max-messages", "1"
        )
        while child.isalive():  # nobody knows when it has found the end
            producer.send("t", b"now").result()
            if child.expect_exact(["now\r\n", pexpect.TIMEOUT], timeout=0.2) == 0:
                break
        assert exit_code(child) == 0
        assert b"before" not in child.before


def test_what_writes_says_that_the_directory_is_in_use() -> None:
    with Broker("d") as broker:
        broker.create_topic("t")
        for arguments in (["produce", "--topic", "t"], ["consume", "--topic", "t", "--group", "g"]):
            done = run(*arguments, given=b"a\n")
            assert done.returncode == 4
            assert b"hint: " in done.stderr
        assert run("consume", "--topic", "t", "--from-beginning").returncode == 0
