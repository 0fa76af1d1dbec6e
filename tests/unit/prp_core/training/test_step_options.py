"""Options of a step that change how it is computed: parts, recomputation, precision, compiling."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from prp_core.errors import UserError
from prp_core.numerics import set_determinism, set_precision, strict_float32
from prp_core.pretext.network import PrpNetwork
from prp_core.training.learner import Learner
from prp_core.training.loss_model import LossModel
from prp_core.training.micro_batches import MicroBatches, split_batch
from prp_core.training.precision_canary import check_bfloat16, compare_precisions
from prp_core.training.recompute import outermost_blocks, recompute_blocks
from prp_core.world import World
from tests.unit.prp_core.training.test_learner import config_with, drawn_batch, weights_of

ALONE = World.alone()


def learner_with(*, frozen_norms: bool = False, **training: object) -> Learner:
    """A learner; `frozen_norms`: batch norm is as in evaluation, so that parts do not matter."""
    learner = Learner(config_with(**training), ALONE, 1)
    if frozen_norms:
        keep = lambda mode=True: torch.nn.Module.train(learner.network, False)  # noqa: E731
        learner.network.train = keep  # type: ignore[method-assign]
    return learner


def assert_close(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("size", [1, 3])
def test_a_batch_in_parts_learns_what_the_whole_one_does(size: int) -> None:
    whole = learner_with(frozen_norms=True)
    parts = learner_with(frozen_norms=True, micro_batch_size=size)
    for seed in (0, 1):
        numbers = [one.step(drawn_batch(4, seed=seed)).read() for one in (whole, parts)]
        assert numbers[1] == pytest.approx(numbers[0], rel=1e-4, abs=1e-7)
    assert_close(weights_of(whole), weights_of(parts))
    assert [len(part) for part in split_batch(drawn_batch(4), size)] == [[1] * 4, [], [3, 1]][
        size - 1
    ]


def out_of_memory_beyond(learner: Learner, limit: int) -> list[int]:
    """Let a pass of more than `limit` clips run out of memory; the sizes that it was tried at."""
    tried: list[int] = []
    real = learner._model.forward

    def forward(clip_BCTHW: torch.Tensor, targets: Any) -> Any:
        tried.append(len(clip_BCTHW))
        result = real(clip_BCTHW, targets)
        if len(clip_BCTHW) > limit:
            raise torch.OutOfMemoryError("planted")
        return result

    learner._model.forward = forward
    return tried


@pytest.mark.parametrize("limit", [1, 2])
def test_a_step_that_runs_out_of_memory_is_taken_in_smaller_parts(
    limit: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The same losses and weights as of a run that had these parts from its first step."""
    configured = learner_with(micro_batch_size=limit)
    learner = learner_with()
    tried = out_of_memory_beyond(learner, limit)
    for seed in (0, 1):
        batch = drawn_batch(4, seed=seed)
        assert learner.step(batch).read() == configured.step(batch).read()
    assert tried == ([4, 2, 2] if limit == 2 else [4, 2, 1, 1, 1, 1]) + [limit] * (4 // limit)
    for name, tensor in weights_of(configured).items():
        assert torch.equal(tensor, weights_of(learner)[name]), name
    assert f"{limit} clips go through the network at a time from now on" in caplog.text


def test_memory_is_given_up_on_after_two_halvings() -> None:
    learner = learner_with()
    out_of_memory_beyond(learner, 0)
    with pytest.raises(torch.OutOfMemoryError, match="planted"):
        learner.step(drawn_batch(4))
    assert learner.global_step == 0
    others = MicroBatches(0, may_halve=False)
    with pytest.raises(MemoryError):
        others.run(drawn_batch(4), lambda parts: (_ for _ in ()).throw(MemoryError()), lambda: None)


@pytest.mark.parametrize("encoder", ["c3d_small", "r3d_small", "r2plus1d_small"])
def test_recomputing_changes_no_number_and_keeps_less(encoder: str) -> None:
    def kept_and_state(recomputes: bool) -> tuple[int, dict[str, torch.Tensor], list[torch.Tensor]]:
        torch.manual_seed(1)
        network = PrpNetwork(encoder).train()
        assert not recomputes or recompute_blocks(network) >= 7
        kept: dict[int, int] = {}
        alive = []

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            alive.append(tensor)
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            outputs = network(torch.rand(2, 3, 8, 32, 32))
        loss: Any = sum(output.square().mean() for output in outputs.values())
        loss.backward()
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        return sum(kept.values()), network.state_dict(), gradients

    plain = kept_and_state(False)
    recomputed = kept_and_state(True)
    assert all(torch.equal(plain[1][name], recomputed[1][name]) for name in plain[1])
    assert all(torch.equal(one, two) for one, two in zip(plain[2], recomputed[2], strict=True))
    assert recomputed[0] < 0.75 * plain[0]
    blocks = list(outermost_blocks(PrpNetwork(encoder)))
    assert not any(inner in list(outer.modules())[1:] for outer in blocks for inner in blocks)


def test_network_and_losses_are_one_graph() -> None:
    """So `training.compile` has nothing to fall back from; the compiler itself is not run here."""
    learner = learner_with()
    model = LossModel(learner.network, learner._tasks)
    batch = drawn_batch(4)
    with torch.no_grad():
        learner.network.eval()
        expected = model(batch.clip_BCTHW, batch.targets)
        compiled = torch.compile(model, fullgraph=True, dynamic=False, backend="eager")
        found = compiled(batch.clip_BCTHW, batch.targets)
    for one, other in zip(expected, found, strict=True):
        for name in one:
            torch.testing.assert_close(one[name], other[name])


def test_the_canary_finds_a_cpus_wrong_bfloat16_gradients() -> None:
    """oneDNN's weight gradient over two frames is wrong (the reason why a CPU refuses it)."""
    torch.manual_seed(0)
    network = PrpNetwork("r3d_small").eval()
    clip_BCTHW = torch.rand(2, 3, 16, 32, 32)
    assert compare_precisions(
        torch.nn.Sequential(torch.nn.Flatten(), Named()).eval(), clip_BCTHW
    ).is_fit
    with pytest.raises(
        UserError, match="'bfloat16': this machine computes it .*its longest kernels are aten::"
    ):
        check_bfloat16(network, clip_BCTHW)
    assert all(parameter.grad is None for parameter in network.parameters())


class Named(torch.nn.Module):
    """A linear layer whose output has a name, which bfloat16 computes well."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3 * 16 * 32 * 32, 4)

    def forward(self, values: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"linear": self.linear(values)}


def test_precision_is_set_in_one_place_and_evaluation_has_its_own() -> None:
    convolutions = torch.backends.cudnn.conv
    for precision, products in (("tf32", "tf32"), ("float32", "ieee"), ("bfloat16", "ieee")):
        set_precision(precision)
        assert convolutions.fp32_precision == torch.backends.cuda.matmul.fp32_precision == products
        with strict_float32():
            assert convolutions.fp32_precision == "ieee"
        assert convolutions.fp32_precision == products
    with pytest.raises(UserError, match="training.precision = 'tf32': needs a GPU; use 'float32'"):
        learner_with(precision="tf32")


def test_a_deterministic_run_takes_deterministic_kernels() -> None:
    try:
        learner = learner_with(deterministic=True)
        assert torch.are_deterministic_algorithms_enabled() and torch.backends.cudnn.deterministic
        learner.step(drawn_batch(4)).read()
    finally:
        set_determinism(False)
    assert torch.backends.cudnn.benchmark and not torch.are_deterministic_algorithms_enabled()


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(
        UserError, match="training.recompute = True: does not go with training.comp"
    ):
        config_with(recompute=True, compile="default")
    with pytest.raises(UserError, match=r"training\.compile"):
        config_with(compile="on")
    assert dataclasses.asdict(config_with())["training"]["micro_batch_size"] == 0
