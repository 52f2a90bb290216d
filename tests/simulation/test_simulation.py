"""The engine under seeded schedules: exact as it is, and found out when it is built wrong."""

import os
import random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as hypothesis_seed
from hypothesis import strategies as st
from tests.simulation.mutations import MUTATIONS, mutated
from tests.simulation.sums import Wrong
from tests.simulation.world import World

SEED = int(os.environ.get("TOLLGATE_TEST_SEED", random.randrange(2**32)))
EXAMPLES = int(os.environ.get("TOLLGATE_SIMULATION_EXAMPLES", "40"))
SCHEDULES = int(os.environ.get("TOLLGATE_SIMULATION_SCHEDULES", "100"))


@hypothesis_seed(SEED)
@settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(seed=st.integers(0, 2**32 - 1), steps=st.integers(500, 12_000))
def test_every_interleaving_counts_each_event_once(seed: int, steps: int) -> None:
    print(f"TOLLGATE_TEST_SEED={SEED}: python -m tests.simulation --seed {seed} --steps 1 --run-steps {steps}")
    World(seed, "python").run(steps)


@hypothesis_seed(SEED)
@settings(
    max_examples=SCHEDULES, deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=True,
    phases=tuple(Phase) if "TOLLGATE_TEST_SHRINK" in os.environ else (Phase.generate,),
)  # fmt: skip
@given(choices=st.randoms(use_true_random=False))
def written_schedules(choices: random.Random) -> None:
    """Hypothesis decides each step. It prefers extremes, and has random data for a limited number of steps only.

    Cutting down what it found takes minutes.
    """
    World(0, "python", choices=choices, haste=10).run(600)


def test_schedules_written_step_by_step_count_each_event_once() -> None:
    print(f"TOLLGATE_TEST_SEED={SEED}")
    written_schedules()


@pytest.mark.parametrize("name", ["read the state before fencing", "claim nothing when lanes change"])
def test_a_schedule_is_written_that_finds_a_defect(name: str) -> None:
    print(f"TOLLGATE_TEST_SEED={SEED}")
    with mutated(name), pytest.raises(Wrong):
        written_schedules()


def test_a_seed_repeats_its_run() -> None:
    first, second = World(7, "python"), World(7, "python")
    first.run(5_000)
    second.run(5_000)
    assert (first.done, first.steps) == (second.done, second.steps)
    assert first.checker.priced == second.checker.priced


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_defect_is_found(name: str) -> None:
    found = None
    with mutated(name):
        for seed in range(30):
            try:
                World(seed, "python").run(10_000)
            except (AssertionError, KeyError) as wrong:
                found = f"seed {seed}: {type(wrong).__name__}: {str(wrong)[:150]}"
                break
    print(name, "|", found)
    assert found is not None
