"""Learning rates are those of torch's own schedule, as a function of the step alone."""

from __future__ import annotations

import pytest
import torch

from training.fit.schedule import one_cycle


@pytest.mark.parametrize("steps", [1, 2, 5, 13, 40, 3000])
@pytest.mark.parametrize("share", [0.1, 0.02])
def test_rates_and_betas_are_those_of_one_cycle(steps: int, share: float) -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.AdamW([parameter], lr=2e-3)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 2e-3, total_steps=steps, pct_start=share
    )
    ours = one_cycle(2e-3, steps, share)
    for step in range(steps):
        group = optimiser.param_groups[0]
        assert ours(step) == {"lr": group["lr"], "betas": group["betas"]}
        optimiser.step()
        if step + 1 < steps:
            theirs.step()


def test_ten_steps_begin_at_the_highest_rate_and_divide_by_no_zero() -> None:
    rates = [one_cycle(2e-3, 10, 0.1)(step)["lr"] for step in range(10)]
    assert rates[0] == pytest.approx(2e-3)
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(2e-3 / 25 * 1e-4)
