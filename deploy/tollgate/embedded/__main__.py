"""The stack's own processes: `python -m tollgate.embedded kafka|clickhouse|stack …`."""

import os
import sys

PROGRAMS = ("kafka", "clickhouse", "stack")


def main() -> int:
    """Run the program that the first argument names."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    arguments = sys.argv[2:]
    if name == "kafka":
        from tollgate.embedded.kafka import main as kafka

        return kafka(arguments)
    if name == "clickhouse":
        from tollgate.embedded.clickhouse_server import main as clickhouse

        status = clickhouse(arguments)
        sys.stderr.flush()
        # The engine's own threads are past their work but not all joined; running destructors under them may crash.
        os._exit(status)
    if name == "stack":
        from tollgate.embedded.launch import main as stack

        return stack(arguments)
    sys.stderr.write(f"usage: python -m tollgate.embedded {'|'.join(PROGRAMS)} …\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
