"""``prp cache``: what this node's cache holds, whether it is intact, and emptying it.

`status`, `verify` and `clear` are the commands; `tiers_of_node` finds the cache for all three and
prints what they found. `CACHE_COMMANDS` lists them.
"""

from orchestrator.commands.command import Command, CommandModule, Group


def _status() -> CommandModule:
    from orchestrator.commands.cache import status

    return status


def _verify() -> CommandModule:
    from orchestrator.commands.cache import verify

    return verify


def _clear() -> CommandModule:
    from orchestrator.commands.cache import clear

    return clear


CACHE_COMMANDS: dict[str, Command | Group] = {
    "status": Command(
        "Show each tier's contents, what is in use, and the hit rate so far.", _status
    ),
    "verify": Command(
        "Read every file from end to end and remove what is wrong; exit code 1 if anything was.",
        _verify,
    ),
    "clear": Command("Remove everything that is not in use.", _clear),
}
