"""Arguments that several commands take: how a store is reached, and where labels come from."""

from __future__ import annotations

import argparse

from orchestrator.storage.store_config import StoreConfig


def add_store_arguments(parser: argparse.ArgumentParser) -> None:
    """How S3 is reached; `store_config` reads it."""
    group = parser.add_argument_group("S3", "credentials come from the AWS environment, config files or the machine's role")
    group.add_argument("--endpoint-url", help="another server than Amazon's")
    group.add_argument("--region")
    group.add_argument("--profile", help="a profile of ~/.aws")
    group.add_argument("--requester-pays", action="store_true", help="pay for reading a bucket whose owner does not")


def store_config(arguments: argparse.Namespace) -> StoreConfig:
    """What `add_store_arguments` took."""
    return StoreConfig(
        endpoint_url=arguments.endpoint_url, region=arguments.region, profile=arguments.profile, requester_pays=arguments.requester_pays
    )


def add_label_arguments(parser: argparse.ArgumentParser) -> None:
    """Labels, groups and splits that do not come from the folders."""
    parser.add_argument("--splits", metavar="DIR", help="UCF101's or HMDB51's own split files")
    parser.add_argument("--split", type=int, default=1, metavar="N", help="which of the splits (default: %(default)s)")
    parser.add_argument("--labels", metavar="CSV", help="a table with the columns key,label,group,split (label, group, split may be missing)")
