"""``python -m orchestrator``: the program ``prp``."""

from orchestrator.commands.prp import main

if __name__ == "__main__":
    raise SystemExit(main())
