"""Usage as providers report it, in their own keys: thousands of blocks each, against sums that are written by hand.

Each provider's arithmetic is written down once more from its own documentation, and shares nothing with the product but
the list prices, which are figures here. A block may leave out whatever a provider leaves out.
"""

import os
import random
from collections.abc import Callable
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest
from genai_prices.decompose import compute_leaf_values, is_descendant_or_self
from tests.unit.pricing.events import NOW, event

from tollgate.domain.pricing import Pricer
from tollgate.domain.pricing.dimensions import TOKENS
from tollgate.domain.pricing.reported import OVERLAPS, Reported
from tollgate.domain.pricing.split import Split
from tollgate.schemas.amounts import PICO
from tollgate.schemas.conventions import CONVENTIONS, KNOWN_KEYS, PROVIDER_KEYS

SEED = int(os.environ.get("TOLLGATE_TEST_SEED", random.randrange(2**32)))
BLOCKS = 5_500

Usage = dict[str, int | str]


def usd_per_million(*terms: tuple[int, str]) -> Fraction:
    return sum((amount * Fraction(usd) for amount, usd in terms), Fraction(0)) / 10**6


def tokens(rnd: random.Random) -> int:
    """Mostly as many as a call has, at times none, at times so many that a tier is reached."""
    return rnd.choice([0, rnd.randrange(10), rnd.randrange(5_000), rnd.randrange(5_000), rnd.randrange(300_000)])


def within(rnd: random.Random, whole: int) -> int:
    return rnd.choice([0, 0, whole, rnd.randint(0, whole)])


def given(rnd: random.Random, **amounts: int) -> Usage:
    """The block, with those of zero left out at times, and in any order."""
    kept = [(key, amount) for key, amount in amounts.items() if amount or rnd.random() < 0.5]
    rnd.shuffle(kept)
    return dict(kept)


def openai(rnd: random.Random) -> tuple[Usage, Fraction, int]:
    """GPT-5.4: 2.50, cached 0.25, output 15; above 272,000 tokens of input 5, 0.50 and 22.50. Cached tokens are in the
    prompt; reasoning and predicted tokens are in the completion.
    """
    prompt, completion = tokens(rnd), tokens(rnd)
    cached, reasoning = within(rnd, prompt), within(rnd, completion)
    usage = given(
        rnd,
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        **{rnd.choice(["cached_tokens", "prompt_cached_tokens", "prompt_tokens_details_cached_tokens"]): cached},
        **{rnd.choice(["reasoning_tokens", "completion_tokens_details_reasoning_tokens"]): reasoning},
        accepted_prediction_tokens=within(rnd, completion),
        rejected_prediction_tokens=0,
    )
    rates = ("5", "0.5", "22.5") if prompt > 272_000 else ("2.5", "0.25", "15")
    cost = usd_per_million((prompt - cached, rates[0]), (cached, rates[1]), (completion, rates[2]))
    return usage, cost, prompt + completion


def openai_realtime(rnd: random.Random) -> tuple[Usage, Fraction, int]:
    """gpt-realtime-mini: text 0.60, cached 0.06, audio 10, cached audio 0.30; output 2.40, audio 20. The details of the
    input say how much is text and audio, those of the cached tokens how much of them.
    """
    text, audio = tokens(rnd), tokens(rnd)
    cached_text, cached_audio = within(rnd, text), within(rnd, audio)
    spoken = tokens(rnd)
    written = tokens(rnd)
    usage = given(
        rnd,
        input_tokens=text + audio,
        output_tokens=spoken + written,
        input_token_details_audio_tokens=audio,
        output_token_details_audio_tokens=spoken,
    )
    usage |= {
        "total_tokens": text + audio + spoken + written,
        "input_token_details_text_tokens": text,
        "input_token_details_cached_tokens": cached_text + cached_audio,
        "cached_audio_tokens": cached_audio,
        "cached_text_tokens": cached_text,
    }
    cost = usd_per_million(
        (text - cached_text, "0.6"), (cached_text, "0.06"), (audio - cached_audio, "10"), (cached_audio, "0.3"),
        (written, "2.4"), (spoken, "20"),
    )  # fmt: skip
    return usage, cost, text + audio + spoken + written


def anthropic(rnd: random.Random) -> tuple[Usage, Fraction, int]:
    """Claude Opus 4.8: 5, cache read 0.50, write 6.25, write of an hour 10, output 25, a web search 0.01. The input is
    without what was read from the cache or written to it; the split by lifetimes is of all that was written.
    """
    fresh, read, output, searches = tokens(rnd), tokens(rnd), tokens(rnd), rnd.choice([0, 0, 1, 7])
    short, long = tokens(rnd), rnd.choice([0, tokens(rnd)])
    usage = given(
        rnd,
        input_tokens=fresh,
        cache_read_input_tokens=read,
        cache_creation_input_tokens=short + long,
        output_tokens=output,
        web_search_requests=searches,
        web_fetch_requests=rnd.choice([0, 2]) if output else 0,
        thinking_tokens=within(rnd, output),
    )
    if long or rnd.random() < 0.5:
        usage |= {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long}
    cost = usd_per_million(
        (fresh, "5"), (read, "0.5"), (short, "6.25"), (long, "10"), (output, "25"), (searches, "10000")
    )
    return usage, cost, fresh + read + short + long + output


def bedrock(rnd: random.Random) -> tuple[Usage, Fraction, int]:
    """Claude 3.5 Haiku: 0.80, cache read 0.08, write 1, output 4; counted as Anthropic does, named as Converse does."""
    fresh, read, written, output = tokens(rnd), tokens(rnd), tokens(rnd), tokens(rnd)
    usage = given(
        rnd,
        input_tokens=fresh,
        cache_read_input_tokens=read,
        cache_write_input_tokens=written,
        output_tokens=output,
        total_tokens=fresh + read + written + output,
    )
    cost = usd_per_million((fresh, "0.8"), (read, "0.08"), (written, "1"), (output, "4"))
    return usage, cost, fresh + read + written + output


def google(rnd: random.Random) -> tuple[Usage, Fraction, int]:
    """Gemini 2.5 Flash: 0.30, audio 1, cached 0.03, cached audio 0.10, output 2.50. The prompt includes its cached
    content; the prompts of tools and the thoughts are beside prompt and candidates, and cost the same.
    """
    text, audio = tokens(rnd), rnd.choice([0, tokens(rnd)])
    cached_text, cached_audio = within(rnd, text), within(rnd, audio)
    tools, candidates, thoughts = rnd.choice([0, tokens(rnd)]), tokens(rnd), tokens(rnd)
    usage = given(
        rnd,
        prompt_token_count=text + audio,
        tool_use_prompt_token_count=tools,
        candidates_token_count=candidates,
        thoughts_token_count=thoughts,
        total_token_count=text + audio + tools + candidates + thoughts,
        cached_content_token_count=cached_text + cached_audio,
    )
    if audio:
        usage |= {
            "prompt_text_token_count": text,
            "prompt_audio_token_count": audio,
            "cache_text_token_count": cached_text,
            "cache_audio_token_count": cached_audio,
        }
    cost = usd_per_million(
        (text - cached_text + tools, "0.3"), (cached_text, "0.03"), (audio - cached_audio, "1"),
        (cached_audio, "0.1"), (candidates + thoughts, "2.5"),
    )  # fmt: skip
    return usage, cost, text + audio + tools + candidates + thoughts


def xai(rnd: random.Random) -> tuple[Usage, Fraction, int]:
    """Grok 4.20: 1.25, cached 0.20, output 2.50; from 200,000 tokens of input on twice that. Reasoning is not in the
    completion.
    """
    prompt, completion, reasoning = tokens(rnd), tokens(rnd), tokens(rnd)
    cached = within(rnd, prompt)
    usage = given(
        rnd,
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion + reasoning,
        reasoning_tokens=reasoning,
        prompt_tokens_details_cached_tokens=cached,
    )
    twice = 2 if prompt >= 200_000 else 1
    cost = twice * usd_per_million((prompt - cached, "1.25"), (cached, "0.2"), (completion + reasoning, "2.5"))
    return usage, cost, prompt + completion + reasoning


def deepseek(rnd: random.Random) -> tuple[Usage, Fraction, int]:
    """deepseek-chat by day: 0.27, cached 0.07, output 1.10. The prompt is what the cache had and what it had not."""
    hit, miss, completion = tokens(rnd), tokens(rnd), tokens(rnd)
    usage = given(
        rnd,
        prompt_tokens=hit + miss,
        completion_tokens=completion,
        total_tokens=hit + miss + completion,
        prompt_cache_hit_tokens=hit,
        prompt_cache_miss_tokens=miss,
        reasoning_tokens=within(rnd, completion),
    )
    if rnd.random() < 0.3:
        usage.pop("prompt_tokens", None)
        usage |= {"prompt_cache_hit_tokens": hit, "prompt_cache_miss_tokens": miss}
    cost = usd_per_million((miss, "0.27"), (hit, "0.07"), (completion, "1.1"))
    return usage, cost, hit + miss + completion


def openrouter(rnd: random.Random) -> tuple[Usage, Fraction, int]:
    """openai/gpt-4o: 2.50, cached 1.25, output 10. OpenRouter reports as OpenAI does, whoever serves the call."""
    prompt, completion = tokens(rnd), tokens(rnd)
    cached = within(rnd, prompt)
    usage = given(
        rnd,
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        cached_tokens=cached,
        reasoning_tokens=within(rnd, completion),
    )
    cost = usd_per_million((prompt - cached, "2.5"), (cached, "1.25"), (completion, "10"))
    return usage, cost, prompt + completion


def perplexity(rnd: random.Random) -> tuple[Usage, Fraction, int]:
    """sonar-deep-research: 2, output 8, citations 2, reasoning 3, a search 0.005; all beside each other."""
    prompt, completion, citations, reasoning = tokens(rnd), tokens(rnd), tokens(rnd), tokens(rnd)
    searches = rnd.randrange(40)
    usage = given(
        rnd,
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        citation_tokens=citations,
        reasoning_tokens=reasoning,
        num_search_queries=searches,
    )
    cost = usd_per_million((prompt, "2"), (completion, "8"), (citations, "2"), (reasoning, "3"), (searches, "5000"))
    return usage, cost, prompt + completion + citations + reasoning


PROVIDERS: list[tuple[str, str, Callable[[random.Random], tuple[Usage, Fraction, int]]]] = [
    ("openai", "openai/gpt-5.4", openai),
    ("openai", "openai/gpt-realtime-mini", openai_realtime),
    ("anthropic", "anthropic/claude-opus-4-8", anthropic),
    ("bedrock", "bedrock/anthropic.claude-3-5-haiku-20241022-v1:0", bedrock),
    ("google", "google/gemini-2.5-flash", google),
    ("xai", "xai/grok-4.20", xai),
    ("deepseek", "deepseek/deepseek-chat", deepseek),
    ("openrouter", "openrouter/openai/gpt-4o", openrouter),
    ("perplexity", "perplexity/sonar-deep-research", perplexity),
]


@pytest.mark.parametrize(("convention", "subject", "block"), PROVIDERS, ids=[block.__name__ for *_, block in PROVIDERS])
def test_what_a_provider_reports_costs_what_it_bills(
    pricer: Pricer, convention: Any, subject: str, block: Callable[[random.Random], tuple[Usage, Fraction, int]]
) -> None:
    print(f"TOLLGATE_TEST_SEED={SEED}")
    rnd = random.Random(f"{SEED} {block.__name__}")
    for _ in range(BLOCKS):
        usage, cost_usd, reported = block(rnd)
        data = event(subject, usage, convention=convention)
        quote = pricer.price(data, NOW)
        if not reported and not cost_usd:
            # Calls, totals and times of nothing may be left, which no price can judge.
            continue
        assert (quote.status, quote.cost_picousd) == ("priced", round(cost_usd * PICO)), usage


@pytest.mark.parametrize(("convention", "subject", "block"), PROVIDERS, ids=[block.__name__ for *_, block in PROVIDERS])
def test_every_token_that_a_provider_reports_is_in_exactly_one_charge(
    pricer: Pricer, convention: Any, subject: str, block: Callable[[random.Random], tuple[Usage, Fraction, int]]
) -> None:
    print(f"TOLLGATE_TEST_SEED={SEED}")
    rnd = random.Random(f"{SEED} {block.__name__} tokens")
    for _ in range(500):
        usage, _, reported = block(rnd)
        _, bill = pricer.bill(event(subject, usage, convention=convention), NOW)
        charged = [line for line in bill.charges if line.rate is not None and "tokens" in line.dimension]
        if reported:
            assert sum(line.nano for line in charged) == reported * 10**9, usage
            assert len({line.dimension for line in charged}) == len(charged)


@pytest.mark.parametrize("block", [openai, anthropic, google, xai])
def test_a_providers_own_words_need_no_convention(
    pricer: Pricer, block: Callable[[random.Random], tuple[Usage, Fraction, int]]
) -> None:
    """Where the words are the provider's alone: `output_tokens` with `reasoning_tokens` are the contract's too."""
    print(f"TOLLGATE_TEST_SEED={SEED}")
    convention, subject, _ = next(found for found in PROVIDERS if found[2] is block)
    rnd = random.Random(f"{SEED} {block.__name__} words")
    told = 0
    for _ in range(500):
        usage, _, reported = block(rnd)
        foreign = {"completion_tokens", "prompt_tokens", "cache_read_input_tokens", "thoughts_token_count"}
        if not reported or not foreign & usage.keys():
            continue
        said = pricer.price(event(subject, usage, convention=convention), NOW)
        unsaid = pricer.price(event(subject, usage), NOW)
        assert said == unsaid, usage
        told += 1
    assert told > 100


def test_no_two_providers_mean_different_things_by_a_key() -> None:
    for keys in PROVIDER_KEYS.values():
        for key, dimension in keys.names.items():
            assert KNOWN_KEYS[key] == dimension
    assert set(CONVENTIONS) == {"inclusive", "exclusive", *PROVIDER_KEYS}


@pytest.mark.parametrize("side", ["input", "output"])
def test_a_split_is_that_of_genai_prices_wherever_totals_agree(side: str) -> None:
    """Its own function takes the units that are priced; here they are those that are reported."""
    print(f"TOLLGATE_TEST_SEED={SEED}")
    rnd = random.Random(f"{SEED} {side}")
    names = {name: unit for name, unit in TOKENS.items() if unit.dimensions["direction"] == side}
    units = {unit.usage_key: unit for unit in names.values()}
    ours_of = {unit.usage_key: name for name, unit in names.items()}
    agreed = 0
    while agreed < 1_000:
        # Whole leaves first, and every sum that contains them; then some of the sums are left out.
        leaves = {key: rnd.randrange(1, 50) for key in rnd.sample(sorted(units), rnd.randrange(1, 5))}
        sums = {
            key: sum(n for leaf, n in leaves.items() if is_descendant_or_self(unit, units[leaf]))
            for key, unit in units.items()
        }
        reported = {key: amount for key, amount in sums.items() if amount or ours_of[key] in OVERLAPS}
        theirs = compute_leaf_values(set(reported), SimpleNamespace(**reported), units)
        split = Split(f"{side}_tokens", Reported({ours_of[key]: n for key, n in reported.items()}, frozenset()))
        split.settle(lambda _: Fraction(1))
        ours = {**split.leaves, split.whole: split.rest}
        assert {name: n for name, n in ours.items() if n} == {ours_of[key]: n for key, n in theirs.items() if n}
        assert split.doubts == []
        agreed += 1
