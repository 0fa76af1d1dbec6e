"""The tiny corpus and what is trained on it, once for each file of tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from prp_core.training.pretrain_data import PretrainData
from tests.tiny_corpus import make_corpus, open_source
from tests.tiny_training import parts_of


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    make_corpus(folder, num_train=8, num_val=4)
    return folder


@pytest.fixture(scope="module")
def data(corpus: Path) -> Iterator[PretrainData]:
    with open_source(corpus) as source:
        yield PretrainData(source, parts_of(corpus))
