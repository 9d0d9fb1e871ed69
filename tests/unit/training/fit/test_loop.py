"""The shared loop: order of checkpoint and report, stopping, resuming, precision, means over samples."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.fit.loop import (
    Step,
    Trainer,
    Training,
    every_seconds,
    every_steps,
    finite_step,
    mean_step,
    train,
)


def trainer(steps: int = 4) -> Trainer[nn.Linear]:
    """Pull one weight towards the number of the step."""
    torch.manual_seed(1)

    def gradients(network: nn.Linear, step: int) -> Step:
        loss = (network(torch.ones(1)) - step).square().mean()
        return float(loss.detach()), torch.autograd.grad(loss, list(network.parameters()))

    training = Training(
        nn.Linear(1, 1),
        nn.Linear(1, 1),
        gradients,
        lambda step: {"lr": 0.1 / (step + 1)},
        lambda _: 0.5,
        steps,
        weight_decay=0.0,
        clip=1.0,
        norm_steps=2,
    )
    return Trainer(training)


def test_a_checkpoint_is_saved_before_its_step_is_reported() -> None:
    ours, calls = trainer(), list[str]()
    finished = train(
        ours,
        report=lambda: calls.append(f"report {ours.step}"),
        report_due=every_steps(2),
        save=lambda: calls.append(f"save {ours.step}"),
        save_due=every_steps(2),
    )
    assert finished
    assert calls == ["save 2", "report 2", "save 4", "report 4"]


def test_a_stop_leaves_the_rest_for_the_next_call() -> None:
    ours = trainer()
    never = every_steps(1000)
    assert not train(ours, report_due=never, save_due=never, stop=lambda: ours.step == 3)
    assert ours.step == 3
    assert train(ours, report_due=never, save_due=never)
    assert ours.step == 4


def test_a_restored_training_ends_with_the_weights_of_an_unbroken_one() -> None:
    unbroken, first, second = trainer(), trainer(), trainer()
    for _ in range(4):
        unbroken.advance()
    first.advance()
    first.advance()
    second.restore(first.state())
    second.advance()
    second.advance()
    assert second.loss == unbroken.loss
    for name in ("network", "average"):
        for ours, theirs in zip(
            getattr(second, name).parameters(), getattr(unbroken, name).parameters(), strict=True
        ):
            assert torch.equal(ours, theirs)


def test_a_state_without_loss_and_steps_of_the_norms_is_restored() -> None:
    ours, state = trainer(), trainer().state()
    del state["loss"], state["norm_steps"]
    ours.restore(state)
    assert (ours.loss, ours.norm_steps) == (0.0, 2)


def test_the_average_moves_half_the_distance_in_each_step() -> None:
    ours = trainer()
    start = ours.average.weight.detach().clone()
    ours.advance()
    torch.testing.assert_close(ours.average.weight, (start + ours.network.weight) / 2)


def test_the_smoothed_loss_begins_with_the_first_one() -> None:
    ours = trainer()
    losses = [ours.advance(), ours.advance()]
    assert ours.loss == pytest.approx(0.98 * losses[0] + 0.02 * losses[1])
    assert list(ours.recent_losses) == losses


def test_seconds_are_counted_from_the_last_time() -> None:
    times = iter([0.0, 5.0, 11.0, 11.0, 20.0, 21.5, 21.5])
    due = every_seconds(10.0, clock=lambda: next(times))
    answers = [due(step) for step in range(1, 5)]
    assert answers == [False, True, False, True]


def test_samples_in_threads_have_the_same_mean() -> None:
    def of_sample(number: int) -> Step:
        return float(number), [torch.tensor([number, 2.0 * number])]

    loss, gradients = mean_step(of_sample, range(3, 6))
    assert loss == 4.0
    assert gradients[0].tolist() == [4.0, 8.0]
    threads = mean_step(of_sample, range(3, 6), workers=2)
    assert threads[0] == loss
    assert torch.equal(threads[1][0], gradients[0])


@pytest.mark.parametrize(("mixed", "expected"), [(True, [True, False]), (False, [False])])
def test_gradients_that_are_not_finite_are_computed_in_float32(
    mixed: bool, expected: list[bool]
) -> None:
    asked = []

    def of_precision(bfloat16: bool) -> Step:
        asked.append(bfloat16)
        return 1.0, [torch.tensor(torch.nan if bfloat16 else 3.0)]

    assert float(finite_step(of_precision, mixed=mixed)[1][0]) == 3.0
    assert asked == expected
