"""`python -m tests.simulation --seed 7 --steps 5000000`: runs of 20,000 steps, a seed each."""

import argparse
import random
import time

from tests.simulation.world import World


def main() -> None:
    """Exit with the error of the first run that goes wrong; its seed is printed before."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--run-steps", type=int, default=20_000)
    parser.add_argument("--core", choices=("python", "compiled"), default="python")
    options = parser.parse_args()
    started = time.monotonic()
    steps = runs = transactions = events = 0
    done: dict[str, int] = {}
    while steps < options.steps:
        seed = options.seed + runs
        world = World(seed, options.core)
        try:
            world.run(options.run_steps)
        except BaseException:
            print(f"seed {seed} after {world.steps} steps: --seed {seed} --steps 1 --run-steps {options.run_steps}")
            print(world.done)
            raise
        runs += 1
        steps += world.steps
        transactions += world.checker.transactions
        events += len(world.identities)
        for name, times in world.done.items():
            done[name] = done.get(name, 0) + times
    seconds = time.monotonic() - started
    print(
        f"seeds {options.seed} to {options.seed + runs - 1}: "
        f"{steps:,} steps in {seconds:.0f} s, {steps / seconds:,.0f}/s"
    )
    print(f"{events:,} events, {transactions:,} transactions, {done}: no difference")


if __name__ == "__main__":
    main()
