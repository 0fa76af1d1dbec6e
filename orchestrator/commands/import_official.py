"""``prp import-official CHECKPOINT``: published weights become an encoder of this project."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.commands.command import run_module
from orchestrator.commands.common_arguments import add_json_argument, print_json
from orchestrator.commands.model_arguments import add_mlflow_argument, tracking_uri_of
from prp_core.errors import UserError

if TYPE_CHECKING:
    from orchestrator.tracking.imported import ImportedEncoder

MAX_NAMED = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The checkpoint, its encoder, and where the encoder goes."""
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        help="a file of the method's authors, VCOP, SMP (model_285.pth.tar) or torchvision",
    )
    parser.add_argument(
        "--encoder",
        metavar="NAME",
        required=True,
        help="whose weights they are: c3d, r3d or r2plus1d (r21d)",
    )
    parser.add_argument(
        "--layout",
        metavar="NAME",
        default="official",
        help="whose names the weights have: official or torchvision (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="where the encoder goes (default: encoders/CHECKPOINT under ~/.prp)",
    )
    parser.add_argument(
        "--register",
        metavar="NAME",
        help="make it a version of this registered model of MLflow, too; no alias is moved",
    )
    parser.add_argument(
        "--allow-unexpected",
        action="store_true",
        help="accept a file that also holds weights of no known network",
    )
    add_mlflow_argument(parser)
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Read, write, register, and say which weights were matched."""
    from orchestrator.config.sweep_spec import home_dir

    checkpoint = Path(arguments.checkpoint).expanduser()
    if not checkpoint.is_file():
        raise UserError(f"There is no checkpoint {str(checkpoint)!r}; name a file of this machine")
    if arguments.register is not None:
        check_name(arguments.register)
    mlflow = tracking_uri_of(arguments) if arguments.register else ""

    from orchestrator.tracking.imported import import_checkpoint, register_imported, write_encoder

    found = import_checkpoint(checkpoint, arguments.encoder, arguments.layout)
    unexpected = found.report.unexpected
    if unexpected and not arguments.allow_unexpected:
        raise UserError(
            f"{checkpoint.name}: {len(unexpected)} of its weights belong to no known network "
            f"({_named(unexpected)}). Is it another encoder's, or another layout's? "
            "--allow-unexpected imports the encoder anyway"
        )
    name = checkpoint.name.removesuffix(".tar").rpartition(".")[0] or checkpoint.name
    out = Path(arguments.out or home_dir() / "encoders" / name).expanduser().resolve()
    write_encoder(found, out)
    registered = register_imported(found, arguments.register, mlflow) if mlflow else ""
    if arguments.json:
        print_json(_facts(found, out, registered))
        return 0
    _print_report(found, checkpoint)
    print(f"written to {out}", file=sys.stderr)
    if registered:
        print(f"registered as {registered} at {mlflow}", file=sys.stderr)
    print(out)
    return 0


def check_name(name: str) -> None:
    """Raise `UserError` for what cannot name a registered model of MLflow."""
    if not name.strip() or "/" in name or ":" in name:
        raise UserError(
            f"--register {name!r} cannot name a registered model; write a name without / and :, "
            "for example prp-published"
        )


def _facts(found: ImportedEncoder, out: Path, registered: str) -> dict[str, object]:
    report = found.report
    return {
        "encoder": found.card.encoder,
        "folder": out,
        "registered": registered or None,
        "num_parameters": found.num_parameters,
        "matched": list(report.matched),
        "ignored": list(report.ignored),
        "unexpected": list(report.unexpected),
        "missing": list(report.missing),
        "provenance": found.card.provenance,
    }


def _print_report(found: ImportedEncoder, checkpoint: Path) -> None:
    report = found.report
    lines = [
        (
            "matched",
            len(report.matched),
            f"all of {found.card.encoder}, {found.num_parameters:,} parameters",
        ),
        ("ignored", len(report.ignored), _layers(report.ignored)),
        ("unexpected", len(report.unexpected), _layers(report.unexpected)),
    ]
    print(f"{found.card.encoder} from {checkpoint.name}", file=sys.stderr)
    for name, count, said in lines:
        print(f"  {name:<10} {count:>4}  {said}".rstrip(), file=sys.stderr)


def _layers(names: Sequence[str]) -> str:
    """``conv6_cls (7), fc8 (2)``: the layers that weights belong to."""
    layers = Counter(name.removeprefix("module.").partition(".")[0] for name in names)
    shown = [f"{layer} ({count})" for layer, count in layers.items()]
    rest = len(shown) - MAX_NAMED
    return ", ".join(shown[:MAX_NAMED]) + (f" and {rest} more layers" if rest > 0 else "")


def _named(names: Sequence[str]) -> str:
    rest = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {rest} more" if rest > 0 else "")


if __name__ == "__main__":
    raise SystemExit(run_module("import-official"))
