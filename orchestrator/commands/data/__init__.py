"""``prp data``: from a folder or bucket of videos to a manifest, and to shards that train faster.

`index`, `show`, `feasibility` and `prepare` are the commands; `manifests` reads or makes the
manifest that their arguments name, and `progress` prints how far they are. `DATA_COMMANDS` lists
them.
"""

from orchestrator.commands.command import Command, CommandModule, Group


def _index() -> CommandModule:
    from orchestrator.commands.data import index

    return index


def _prepare() -> CommandModule:
    from orchestrator.commands.data import prepare

    return prepare


def _show() -> CommandModule:
    from orchestrator.commands.data import show

    return show


def _feasibility() -> CommandModule:
    from orchestrator.commands.data import feasibility

    return feasibility


DATA_COMMANDS: dict[str, Command | Group] = {
    "index": Command(
        "Verify every video of a folder or bucket and write the manifest; prints its URI.", _index
    ),
    "prepare": Command(
        "Turn the videos of a folder or bucket into shards that train many times faster.", _prepare
    ),
    "show": Command("Show what a manifest holds, and which videos are quarantined and why.", _show),
    "feasibility": Command(
        "Count the videos that are long enough for each rate and clip length.", _feasibility
    ),
}
