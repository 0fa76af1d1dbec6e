"""A sweep that is interrupted, killed and driven twice loses nothing and repeats nothing."""

from __future__ import annotations

from pathlib import Path

from mlflow import MlflowClient

from tests.tools.study_process import TINY_PRESET, StudyProcess, rung_rows, trial_rows


def statuses(home: Path) -> list[str]:
    """MLflow's status of every run under `home`."""
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    return [run.info.status for run in client.search_runs([experiment.experiment_id])]


def test_ctrl_c_then_kill_9_then_the_end(tmp_path: Path, tiny_videos: Path) -> None:
    words = [
        "--preset",
        str(TINY_PRESET),
        "--data",
        str(tiny_videos),
        "--trials",
        "1",
        "--set",
        "sweep.pruner=none",
    ]
    with StudyProcess(tmp_path, words, {"PRP_TEST_SLOW": "1"}) as first:
        first.wait_for(r"trial 0 running at epoch [1-9]")
        first.interrupt()
        assert first.wait(120) == 130, first.output[-3000:]
        assert f"--resume {first.sweep_id}" in first.output
        assert first.left_behind() == []
        sweep_id = first.sweep_id
    assert set(statuses(tmp_path)) == {"KILLED"}
    assert {state for _, state, _ in trial_rows(tmp_path, sweep_id)} == {"RUNNING"}, (
        "an interrupted trial is still to be finished"
    )
    reported = rung_rows(tmp_path, sweep_id)

    with StudyProcess(tmp_path, ["--resume", sweep_id], {"PRP_TEST_SLOW": "1"}) as second:
        second.wait_for("resuming tiny")
        with StudyProcess(tmp_path, ["--resume", sweep_id]) as rival:
            assert rival.wait(300) == 2
            assert (
                f"Sweep {sweep_id} is being driven by process {second.process.pid}" in rival.output
            )
        second.wait_for("trial 0 running")
        second.kill()
        with StudyProcess(
            tmp_path, ["--resume", sweep_id, "--trials", "2"], {"PRP_TEST_SLOW": "1"}
        ) as third:
            assert third.wait() == 0, third.output[-4000:]
            assert third.left_behind() == []
        assert second.left_behind() == [], "Ray's agents stay for a minute"
    assert [state for _, state, _ in trial_rows(tmp_path, sweep_id)] == ["COMPLETE", "COMPLETE"], (
        "the interrupted one and one more"
    )
    finished = rung_rows(tmp_path, sweep_id)
    assert set(reported) <= set(finished), "what was reported before the interruptions stands"
    assert [epoch for number, epoch, _ in finished if number == 0] == [1, 2, 4, 8, 16, 24]
    assert sorted(statuses(tmp_path)) == ["FINISHED"] * 3, (
        "one parent and one run for each trial, the same after every resume"
    )
