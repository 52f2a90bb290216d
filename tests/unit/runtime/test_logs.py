"""Log lines are safe for a terminal, whatever a value, an error or a library's line quotes."""

import json
import os
import random
import re
import subprocess
import sys
import textwrap

import pytest

from tollgate.schemas.shown_text import safe

HOSTILE = [
    "\u202egpj.exe", "\x1b[2J\x1b[31mred", "\x9b31m", "a\r2026-11-29T00:00:00Z [info] forged", "a\nforged=1",
    "zero\u200bwidth", "\u2028line", "\ufeffmark", "\U000e0041tag", "\x07bell", "\x7f",
]  # fmt: skip
UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e0fff]")

PROGRAM = """
    import json, logging, sys
    import structlog
    from tollgate.runtime.logs import Lines, configure_logs

    class Odd:
        def __init__(self, text):
            self.text = text
        def __repr__(self):
            return self.text

    configure_logs("info", sys.argv[1])
    log = structlog.get_logger("tollgate.test")
    for text in json.load(sys.stdin):
        log.info(text, scope=text, many=[text, {text: text}], odd=Odd(text), count=3)
        log.bind(key=text).warning("bound")
        log.warning(Lines(f"alert\\nsecond {text.splitlines()[-1]}"))
        logging.getLogger("some.library").error("said %s", text)
        try:
            raise ValueError(text) from KeyError(text)
        except ValueError:
            log.exception("failed", why=text)
            logging.getLogger("some.library").exception("failed with %s", text)
"""


def logged(log_format: str, texts: list[str]) -> list[str]:
    """What a process writes to stderr, whose lines all begin with a time but those of tracebacks and of `Lines`."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), log_format],
        input=json.dumps(texts), capture_output=True, text=True, encoding="utf-8", check=True, timeout=60,
    )  # fmt: skip
    return done.stderr.split("\n")


def test_no_text_reaches_a_text_log_that_a_terminal_would_act_on() -> None:
    lines = logged("text", HOSTILE)
    assert not [line for line in lines if UNSAFE.search(line)]
    assert any("\\u202egpj.exe" in line for line in lines)
    # A forged line would begin with a time or with its own first word.
    assert not [line for line in lines if line.startswith(("forged", "2026-11-29T00:00:00Z [info] forged"))]
    times = [line for line in lines if re.match(r"20\d\d-", line)]
    assert len(times) == 6 * len(HOSTILE)


def test_every_line_of_a_json_log_is_one_document_whose_values_are_safe_to_print() -> None:
    lines = [line for line in logged("json", HOSTILE) if line]
    assert len(lines) == 6 * len(HOSTILE)
    found = [json.loads(line) for line in lines]
    assert not [line for line in lines if not line.isascii()]
    assert not UNSAFE.search(json.dumps(found, ensure_ascii=False))
    assert not [event for event in found if any(UNSAFE.search(str(value)) for value in event.values())]
    assert {event["count"] for event in found if "count" in event} == {3}
    assert any("ValueError: \\u202egpj.exe" in event.get("exception", "") for event in found)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_error_that_ends_a_process_is_logged_like_any_other(log_format: str) -> None:
    program = (
        "import sys; from tollgate.runtime.logs import configure_logs; configure_logs('error', sys.argv[1])\n"
        "raise ValueError('\\x1b[2J\\u202e\\n2026-11-29T00:00:00Z forged')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, log_format], capture_output=True, encoding="utf-8", timeout=60, check=False
    )
    assert done.returncode == 1
    assert "ended by an error" in done.stderr
    assert "ValueError: \\x1b[2J\\u202e".replace("\\", "\\\\" if log_format == "json" else "\\") in done.stderr
    assert not UNSAFE.search(done.stderr)
    assert not re.search("^2026-11-29T00:00:00Z forged", done.stderr, re.MULTILINE)


def test_ordinary_text_is_left_as_it_is() -> None:
    lines = logged("text", ["user/Straßenbau 漢 🙂 'x'"])
    assert "scope=\"user/Straßenbau 漢 🙂 'x'\"" in lines[0]


def test_random_text_is_harmless_in_both_formats() -> None:
    seed = int(os.environ.get("TOLLGATE_TEST_SEED", random.randrange(2**32)))
    print(f"TOLLGATE_TEST_SEED={seed}")
    rnd = random.Random(seed)
    alphabet = [*map(chr, range(0xA0)), *"\u202a\u202e\u2066\u200b\u2028\u2029\ufeff\U000e0020", *"aé漢🙂"]
    texts = ["".join(rnd.choices(alphabet, k=rnd.randint(1, 40))) + "." for _ in range(100)]
    for log_format in ("text", "json"):
        assert not [line for line in logged(log_format, texts) if UNSAFE.search(line)]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_safe_stays_as_it_is_when_it_is_escaped_again(text: str) -> None:
    assert safe(safe(text)) == safe(text)
