"""The learner: what a step does to the weights, alone and on two workers, and its state."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from prp_core.data.clip_config import ClipConfig
from prp_core.encoders.encoder_config import EncoderConfig
from prp_core.errors import DivergedError, UserError
from prp_core.pretext.network import build_network
from prp_core.pretext.playback_rate import PlaybackRate
from prp_core.pretext.pretext_config import PretextTasks
from prp_core.pretext.slow_motion import SlowMotion, SlowMotionTargets
from prp_core.pretext.targets import PretextBatch
from prp_core.training import learner as learner_module
from prp_core.training.checkpoint import from_bytes, to_bytes
from prp_core.training.encoder_export import encoder_weights, rebuild_encoder
from prp_core.training.learner import Learner
from prp_core.training.loss_model import LossModel
from prp_core.training.micro_batches import MicroBatches
from prp_core.training.optimisers import OPTIMISERS
from prp_core.training.pretrain_config import PretrainConfig
from prp_core.training.schedule import SCHEDULES
from prp_core.training.training_config import TrainingConfig
from prp_core.world import World
from tests.worker_group import run_workers

ALONE = World.alone()
NUM_RATES = 3
CLASSIFIER = "heads.playback_rate.linear.weight"


def config_with(**training: object) -> PretrainConfig:
    values: dict[str, object] = {
        "num_epochs": 4,
        "batch_size": 4,
        "schedule": "constant",
        **training,
    }
    return PretrainConfig(
        encoder=EncoderConfig(name="c3d_small"),
        pretext=PretextTasks(
            playback_rate=PlaybackRate(rates="1-2-4"),
            slow_motion=SlowMotion(loss_weight=0.5),
        ),
        clip=ClipConfig(length=8, resize_height=36, resize_width=40, crop=32),
        training=TrainingConfig(**values),  # type: ignore[arg-type]
        seed=5,
    )


def drawn_batch(size: int, seed: int = 0) -> PretextBatch:
    generator = torch.Generator().manual_seed(seed)
    clip_BCTHW = torch.rand(size, 3, 8, 32, 32, generator=generator)
    supervised_BT = torch.ones(size, 16, dtype=torch.bool)
    supervised_BT[0, 1::2] = False
    rate_labels_B = torch.randint(NUM_RATES, (size,), generator=generator)
    slow_motion = SlowMotionTargets(
        target_BCTHW=torch.rand(size, 3, 16, 32, 32, generator=generator),
        supervised_BT=supervised_BT,
        attention_BCTHW=0.8 + torch.rand(size, 3, 16, 32, 32, generator=generator),
    )
    return PretextBatch(clip_BCTHW, {"playback_rate": rate_labels_B, "slow_motion": slow_motion})


def rows(batch: PretextBatch, chosen: slice) -> PretextBatch:
    targets = batch.targets["slow_motion"]
    fields = {
        field.name: getattr(targets, field.name)[chosen] for field in dataclasses.fields(targets)
    }
    return PretextBatch(
        batch.clip_BCTHW[chosen],
        {
            "playback_rate": batch.targets["playback_rate"][chosen],
            "slow_motion": SlowMotionTargets(**fields),
        },
    )


def weights_of(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in learner.network.state_dict().items()}


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def test_initial_weights_are_those_of_the_seed_and_disturb_nobody() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = build_network(config_with()).state_dict()
    assert torch.equal(torch.rand(3), expected)
    assert_equal(first, build_network(config_with()).state_dict())
    other = build_network(dataclasses.replace(config_with(), seed=6)).state_dict()
    assert not torch.equal(first[CLASSIFIER], other[CLASSIFIER])


def test_a_step_says_what_the_formulas_say() -> None:
    batch, network = drawn_batch(4), build_network(config_with())
    targets, labels = batch.targets["slow_motion"], batch.targets["playback_rate"]
    output = network.train()(batch.clip_BCTHW)
    logits = output["playback_rate"]
    error = targets.attention_BCTHW * (output["slow_motion"] - targets.target_BCTHW) ** 2
    reconstruction = torch.stack(
        [error[item][:, targets.supervised_BT[item]].mean() for item in range(4)]
    ).mean()
    rate = cross_entropy(logits, labels)
    loss = 0.5 * reconstruction + 0.1 * rate
    loss.backward()
    norm = torch.cat(
        [
            parameter.grad.flatten()
            for parameter in network.parameters()
            if parameter.grad is not None
        ]
    ).norm()
    accuracy = (logits.argmax(1) == labels).float().mean().item()
    of_output, of_target = (
        pictures.std(dim=(2, 3, 4), correction=0).mean().item()
        for pictures in (output["slow_motion"], targets.target_BCTHW)
    )
    pairs = list(zip(labels.tolist(), logits.argmax(1).tolist(), strict=True))
    assert Learner(config_with(), ALONE, 1).step(batch).read() == {
        **{
            f"rate_confusion/{2**i}_as_{2**j}": pytest.approx(pairs.count((i, j)) / 4)
            for i in range(3)
            for j in range(3)
        },
        "train/loss": pytest.approx(loss.item(), rel=1e-5),
        "train/rate_loss": pytest.approx(rate.item(), rel=1e-5),
        "train/reconstruction_loss": pytest.approx(reconstruction.item(), rel=1e-5),
        "train/reconstruction_contrast": pytest.approx(of_output / of_target, rel=1e-4),
        "train/gradient_norm": pytest.approx(norm.item(), rel=1e-4),
        "train/rate_accuracy": pytest.approx(accuracy),
        "train/rate_accuracy_over_chance": pytest.approx((accuracy - 1 / 3) / (2 / 3), abs=1e-6),
    }


def test_sgd_by_hand_with_the_classifier_ten_times_faster() -> None:
    """Two steps of ``v = momentum * v + g + decay * w; w -= rate * v``, the classifier at ten times
    the rate.
    """
    config, batch = config_with(learning_rate=0.01, momentum=0.9, weight_decay=0.05), drawn_batch(4)
    network, targets = build_network(config), batch.targets["slow_motion"]
    speeds: dict[str, torch.Tensor] = {}
    for _ in range(2):
        network.zero_grad()
        output = network.train()(batch.clip_BCTHW)
        error = targets.attention_BCTHW * (output["slow_motion"] - targets.target_BCTHW) ** 2
        error_BT = error.mean(dim=(1, 3, 4)) * targets.supervised_BT
        reconstruction = (error_BT.sum(1) / targets.supervised_BT.sum(1)).mean()
        rate = cross_entropy(output["playback_rate"], batch.targets["playback_rate"])
        (0.5 * reconstruction + 0.1 * rate).backward()
        with torch.no_grad():
            for name, weight in network.named_parameters():
                assert weight.grad is not None
                speeds[name] = 0.9 * speeds.get(name, torch.zeros(())) + weight.grad + 0.05 * weight
                weight.sub_(
                    (0.1 if name.startswith("heads.playback_rate") else 0.01) * speeds[name]
                )
    learner = Learner(config, ALONE, 1)
    learner.step(batch), learner.step(batch)
    for name, expected in network.state_dict().items():
        torch.testing.assert_close(
            learner.network.state_dict()[name], expected, rtol=1e-4, atol=1e-6, msg=name
        )


@pytest.mark.parametrize(
    "changes", [{"optimiser": "adamw", "learning_rate": 1e-3}, {"max_gradient_norm": 0.1}, {}]
)
def test_repeating_a_batch_lowers_its_loss(changes: dict[str, object]) -> None:
    learner, batch = Learner(config_with(**changes), ALONE, 1), drawn_batch(4)
    losses = [learner.step(batch).read()["train/loss"] for _ in range(12)]
    assert losses[-1] < 0.9 * losses[0]
    assert all(
        tensor.dtype in (torch.float32, torch.int64)
        for tensor in learner.network.state_dict().values()
    ), "weights stay float32"


def test_bfloat16_on_a_cpu_is_refused() -> None:
    with pytest.raises(UserError, match="training.precision = 'bfloat16': needs a GPU"):
        Learner(config_with(precision="bfloat16"), ALONE, 1)


def test_clipping_bounds_what_a_step_changes() -> None:
    changes = []
    for limit in (0.0, 1e-3):
        learner = Learner(
            config_with(
                max_gradient_norm=limit, weight_decay=0.0, classifier_learning_rate_multiplier=1.0
            ),
            ALONE,
            1,
        )
        before = torch.cat(
            [parameter.detach().flatten().clone() for parameter in learner.network.parameters()]
        )
        norm = learner.step(drawn_batch(4)).read()["train/gradient_norm"]
        after = torch.cat(
            [parameter.detach().flatten() for parameter in learner.network.parameters()]
        )
        changes.append((after - before).norm().item())
        assert norm > 1e-2, "the norm is the one before clipping"
    assert changes[1] == pytest.approx(0.01 * 1e-3, rel=0.02) and changes[0] > 10 * changes[1]


def test_the_schedule_sets_the_rate_of_each_step() -> None:
    learner = Learner(
        config_with(schedule="cosine", warmup_epochs=1, learning_rate=0.02),
        ALONE,
        steps_per_epoch=2,
    )
    rates = []
    for _ in range(4):
        rates.append(learner.learning_rate)
        learner.step(drawn_batch(4))
    assert rates[:3] == pytest.approx([0.01, 0.02, 0.02]) and rates[3] < 0.02


def test_a_loss_that_is_not_finite_ends_it() -> None:
    learner, batch = Learner(config_with(), ALONE, 1), drawn_batch(4)
    learner.step(batch)
    batch.targets["slow_motion"].target_BCTHW[2, 0, 0, 0, 0] = float("nan")
    with pytest.raises(
        DivergedError,
        match="train/loss is nan at step 2: training diverged; lower training.learning_rate",
    ):
        learner.step(batch).read()


@pytest.mark.parametrize("off", ["playback_rate", "slow_motion"])
def test_a_task_without_weight_has_no_head_and_no_numbers(off: str) -> None:
    config, batch = config_with(), drawn_batch(4)
    task = dataclasses.replace(getattr(config.pretext, off), loss_weight=0.0)
    config = dataclasses.replace(config, pretext=dataclasses.replace(config.pretext, **{off: task}))
    (name,) = config.pretext.active
    kept = config.pretext.active[name]
    batch = PretextBatch(batch.clip_BCTHW, {name: batch.targets[name]})
    learner = Learner(config, ALONE, 1)
    assert list(learner.network.heads) == list(learner.network.stems) == [name]
    numbers = learner.step(batch).read()
    assert set(numbers) == {
        "train/loss",
        "train/gradient_norm",
        kept.loss_name,
        *kept.metric_names,
    }
    assert numbers["train/loss"] == pytest.approx(kept.loss_weight * numbers[kept.loss_name])
    assert all(parameter.grad is not None for parameter in learner.network.parameters())


def resumed(learner: Learner, config: PretrainConfig) -> Learner:
    """Another learner that was brought to the state of `learner`, through bytes."""
    other = Learner(config, ALONE, 1)
    other.load_state(from_bytes(to_bytes(learner.state())))
    other.load_own_state(from_bytes(to_bytes(learner.own_state())))
    return other


@pytest.mark.parametrize(
    "changes",
    [{"optimiser": name} for name in OPTIMISERS] + [{"schedule": name} for name in SCHEDULES],
)
def test_a_resumed_learner_is_the_same_bit_for_bit(changes: dict[str, object]) -> None:
    config = config_with(**changes)
    whole = Learner(config, ALONE, 1)
    whole.step(drawn_batch(4, seed=0)), whole.step(drawn_batch(4, seed=1))
    whole.schedule.end_epoch(1.0)
    part = resumed(whole, config)
    torch.rand(1)
    assert part.global_step == 2 and part.schedule.state() == whole.schedule.state()
    for seed in (2, 3):
        assert (
            part.step(drawn_batch(4, seed=seed)).read()
            == whole.step(drawn_batch(4, seed=seed)).read()
        )
    assert_equal(weights_of(part), weights_of(whole))


def test_a_workers_own_state_holds_its_generator() -> None:
    learner = Learner(config_with(), ALONE, 1)
    torch.manual_seed(3)
    state = from_bytes(to_bytes(learner.own_state()))
    expected = torch.rand(4)
    learner.load_own_state(state)
    assert torch.equal(torch.rand(4), expected)


def test_an_encoder_goes_out_and_comes_back() -> None:
    learner = Learner(config_with(), ALONE, 1)
    learner.step(drawn_batch(4))
    weights = encoder_weights(learner.network)
    rebuilt = rebuild_encoder("c3d_small", weights)
    clip_BCTHW = drawn_batch(2).clip_BCTHW
    assert not rebuilt.training
    assert torch.equal(rebuilt(clip_BCTHW), learner.network.encoder.eval()(clip_BCTHW))
    learner.step(drawn_batch(4))
    assert any(
        not torch.equal(weights[name], tensor)
        for name, tensor in learner.network.encoder.state_dict().items()
    ), "copies, not views"
    with pytest.raises(
        UserError, match=r"these weights are not those of encoder 'r3d_small': \d+ missing"
    ):
        rebuild_encoder("r3d_small", weights)


def learn_as_worker(world: World, sizes: list[int]) -> dict[str, Any]:
    """Two steps on this worker's share of two batches, batch norm as in evaluation so that the
    shares do not matter to it.
    """
    config = config_with(batch_size=sum(sizes), schedule="constant")
    learner = Learner(config, world, 1)
    keep_mode = lambda mode=True: torch.nn.Module.train(learner.network, False)  # noqa: E731
    learner.network.train = keep_mode  # type: ignore[method-assign]
    first = sum(sizes[: world.rank])
    share = slice(first, first + sizes[world.rank]) if world.size > 1 else slice(None)
    numbers = [
        learner.step(rows(drawn_batch(sum(sizes), seed=seed), share)).read() for seed in (0, 1)
    ]
    return {"numbers": numbers, "weights": weights_of(learner)}


SIZES = {"even": [2, 2], "uneven": [3, 2]}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two workers has to say, by rank."""
    answers: list[dict[str, Any]] = run_workers(work, tmp_path_factory.mktemp("group"))
    return answers


def work(world: World) -> dict[str, Any]:
    learnt = {name: learn_as_worker(world, sizes) for name, sizes in SIZES.items()}
    return {
        **learnt,
        "diverging": diverge_as_worker(world),
        "changing": learn_with_changing_workers(world),
        "lacking": lack_memory_as_worker(world),
    }


def lack_memory_as_worker(world: World) -> dict[str, Any]:
    """The second worker has no memory for more than two clips at a time, then for none."""
    learner = Learner(config_with(batch_size=8), world, 1)
    before = {**weights_of(learner), **dict(learner.network.named_buffers())}
    before = {name: tensor.clone() for name, tensor in before.items()}
    limits = [2, 0]
    real = LossModel.forward

    def forward(self: LossModel, clip_BCTHW: torch.Tensor, targets: Any) -> Any:
        result = real(self, clip_BCTHW, targets)
        if world.rank == 1 and len(clip_BCTHW) > limits[0]:
            raise torch.OutOfMemoryError("planted")
        return result

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(LossModel, "forward", forward)
        learner.fit_to_memory()
        size = learner._micro.size
        limits.pop(0)
        with pytest.raises(torch.OutOfMemoryError, match="worker 1, 1 clips at a time: planted"):
            learner.fit_to_memory()
    after = {**weights_of(learner), **dict(learner.network.named_buffers())}
    return {
        "size": size,
        "traces": [name for name, tensor in before.items() if not torch.equal(tensor, after[name])],
        "gradients": sum(one.grad is not None for one in learner.network.parameters()),
    }


def test_workers_agree_on_parts_that_fit_into_the_memory_of_each(
    answers: list[dict[str, Any]],
) -> None:
    expected = {"size": 2, "traces": [], "gradients": 0}
    assert [answer["lacking"] for answer in answers] == [expected, expected]


def in_double(batch: PretextBatch) -> PretextBatch:
    targets = batch.targets["slow_motion"]
    doubled = dataclasses.replace(
        targets,
        target_BCTHW=targets.target_BCTHW.double(),
        attention_BCTHW=targets.attention_BCTHW.double(),
    )
    return PretextBatch(batch.clip_BCTHW.double(), {**batch.targets, "slow_motion": doubled})


def learn_with_changing_workers(world: World) -> dict[str, Any]:
    """Three steps with synced batch norm: of two workers, of one, of two again.

    In float64: in float32 four clips' norms make 1e-3 of rounding within these steps.
    """
    config = config_with(batch_norm="synced")
    numbers = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            learner_module, "build_network", lambda config: build_network(config).double()
        )
        learner = Learner(config, world, 1)
        for seed in (0, 1, 2):
            now = ALONE if seed == 1 else world
            following = Learner(config, now, 1)
            following.load_state(learner.state())
            share = slice(2 * now.rank, 2 * now.rank + 2) if now.size > 1 else slice(None)
            numbers.append(following.step(rows(in_double(drawn_batch(4, seed=seed)), share)).read())
            learner = following
    return {
        "numbers": numbers,
        "weights": weights_of(learner),
        "clips_per_norm": learner.clips_per_norm,
    }


def test_with_synced_norms_the_number_of_workers_changes_nothing(
    answers: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    alone = learn_with_changing_workers(ALONE)
    for answer in answers:
        changing = answer["changing"]
        assert changing["clips_per_norm"] == 4
        for step in range(3):
            assert changing["numbers"][step] == pytest.approx(alone["numbers"][step], rel=1e-10)
        for name, weight in alone["weights"].items():
            torch.testing.assert_close(
                changing["weights"][name], weight, rtol=1e-8, atol=1e-10, msg=name
            )
    two = World(rank=0, size=2, device=torch.device("cpu"))
    learner = Learner.__new__(Learner)
    learner._training = config_with().training
    learner._micro = MicroBatches(0, may_halve=False)
    learner._world = two
    learner._warn_of_few_clips()
    assert "statistics from 2 clips a worker, fewer than 4: they are noisy" in caplog.text


@pytest.mark.parametrize("shares", SIZES)
def test_two_workers_learn_what_one_learns(answers: list[dict[str, Any]], shares: str) -> None:
    alone = learn_as_worker(ALONE, SIZES[shares])
    for answer in answers:
        for step in (0, 1):
            assert answer[shares]["numbers"][step] == pytest.approx(
                alone["numbers"][step], rel=1e-4
            )
        for name, weight in alone["weights"].items():
            torch.testing.assert_close(
                answer[shares]["weights"][name], weight, rtol=1e-4, atol=1e-6, msg=name
            )


def diverge_as_worker(world: World) -> dict[str, Any]:
    """Batch norm takes its own share's statistics; at the second step one worker's target is not
    finite.
    """
    learner = Learner(config_with(), world, 1)
    learner.step(drawn_batch(2, seed=world.rank))
    before = learner.network.encoder.state_dict()
    running = next(
        tensor.clone() for name, tensor in before.items() if name.endswith("running_mean")
    )
    learner.share_buffers()
    shared = next(
        tensor.clone()
        for name, tensor in learner.network.encoder.state_dict().items()
        if name.endswith("running_mean")
    )
    batch = drawn_batch(2, seed=world.rank + 10)
    if world.rank == 1:
        batch.targets["slow_motion"].target_BCTHW[0, 0, 0, 0, 0] = float("inf")
    try:
        learner.step(batch).read()
        error = ""
    except DivergedError as raised:
        error = str(raised)
    return {"error": error, "running": running, "shared": shared}


def test_two_workers_diverge_at_the_same_step(answers: list[dict[str, Any]]) -> None:
    first, second = (answer["diverging"] for answer in answers)
    assert (
        first["error"]
        == second["error"]
        == "train/loss is inf at step 2: training diverged; lower training.learning_rate"
    )
    assert not torch.equal(first["running"], second["running"]), (
        "each worker's statistics are of its own share"
    )
    assert torch.equal(first["shared"], second["shared"]) and torch.equal(
        first["shared"], first["running"]
    )


def test_the_encoder_has_a_learning_rate_of_its_own_where_it_is_asked_for() -> None:
    """SGD's first step without momentum or decay is the gradient times the learning rate."""
    changes: dict[float, dict[str, torch.Tensor]] = {}
    for multiplier in (1.0, 0.1):
        config = config_with(weight_decay=0.0, encoder_learning_rate_multiplier=multiplier)
        learner = Learner(config, ALONE, 1)
        before = weights_of(learner)
        learner.step(drawn_batch(4)).read()
        after = weights_of(learner)
        changes[multiplier] = {
            name: after[name] - before[name] for name, _ in learner.network.named_parameters()
        }
    for name, change in changes[0.1].items():
        factor = 0.1 if name.startswith("encoder.") else 1.0
        expected = changes[1.0][name] * factor
        assert torch.allclose(change, expected, rtol=1e-3, atol=1e-6), name


def test_a_learning_rate_of_zero_for_the_encoder_is_refused() -> None:
    path = "training.encoder_learning_rate_multiplier = 0: must be positive"
    with pytest.raises(UserError, match=path):
        TrainingConfig(encoder_learning_rate_multiplier=0)
