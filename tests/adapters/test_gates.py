"""What single gate families promise beyond the contract: exact sizes, exact zeros, honest probabilities, schedules."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slasearch.adapters.gates._base import GateFamily
from slasearch.adapters.gates.budget import Budget
from slasearch.registry import GATES
from slasearch.testing.gates import GATE_SPEC


def make(name: str, costs: torch.Tensor, *, tasks: int = 1, **settings: object) -> GateFamily:
    spec = dataclasses.replace(GATE_SPEC, family=name, **settings)
    family: GateFamily = GATES.get(name).family(tasks, len(costs), spec, costs=costs.double())
    return family


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 2**31), st.integers(1, 4), st.integers(2, 60), st.floats(0.01, 1.5), st.floats(0.05, 5.0),
    st.sampled_from(["union", "per_task"]),
)  # fmt: skip
def test_budget_keeps_the_expected_size(
    seed: int, tasks: int, slots: int, share: float, beta: float, scope: str
) -> None:
    generator = torch.Generator().manual_seed(seed)
    costs = torch.randint(1, 5000, (slots,), generator=generator).float()
    family = make("budget", costs, tasks=tasks, temperature=beta, temperature_schedule="constant")
    assert isinstance(family, Budget)
    with torch.no_grad():
        family.logits.copy_(torch.randn(tasks, slots, generator=generator) * 5)
    wanted = share * float(costs.sum())
    family.set_target(wanted, scope)  # type: ignore[arg-type]
    possible = min(wanted, float(costs.sum()))
    size = family.expected_size(family._opened(family.logits.detach().double(), family.shift()))
    assert size.flatten().tolist() == pytest.approx([possible] * size.numel(), rel=1e-9)


def test_budget_keeps_the_expected_size_while_it_learns() -> None:
    costs = torch.tensor([3.0, 10.0, 500.0, 40.0, 7.0, 60.0])
    family = make("budget", costs, tasks=2)
    assert isinstance(family, Budget)
    family.set_target(150.0, "union")
    optimizer = family.optimizer(0.3)
    worth = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    for step in range(60):
        family.set_progress(step / 60)
        optimizer.zero_grad()
        z = family.sample(torch.Generator())
        assert float(family.expected_size(z.detach())) == pytest.approx(150.0, rel=1e-6)
        (-(z * worth).sum()).backward()
        optimizer.step()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 4), st.integers(1, 12), st.floats(0.05, 1.5), st.floats(0.1, 2.0))
def test_tasks_of_a_union_differ_whatever_its_budget(
    seed: int, tasks: int, slots: int, share: float, beta: float
) -> None:
    """x says what is paid; a task stays behind the one that wants a slot most by what their logits differ by."""
    generator = torch.Generator().manual_seed(seed)
    costs = torch.randint(1, 5000, (slots,), generator=generator).float()
    family = make("budget", costs, tasks=tasks, temperature=beta, temperature_schedule="constant")
    with torch.no_grad():
        family.logits.copy_(torch.randn(tasks, slots, generator=generator))
        family.alive &= torch.rand(tasks, slots, generator=generator) < 0.8
    if not family.alive.any():
        return
    whole = float(costs[family.alive.any(0)].sum())
    family.set_target(share * whole, "union")
    p = family.openness()
    logits = family.logits.masked_fill(~family.alive, -torch.inf)
    behind = torch.exp((logits - logits.amax(0)) / beta).nan_to_num(0.0)
    torch.testing.assert_close(p, p.amax(0) * behind, rtol=1e-4, atol=1e-7)
    if share >= 1:
        assert bool((p.amax(0)[family.alive.any(0)] > 0.999).all()), "what fits is open to whom wants it most"
        assert torch.equal(family.is_open(), (behind >= 0.5) & family.alive)
    (gradient,) = torch.autograd.grad(family.sample(generator).sum(), [family.logits])
    assert bool(gradient.isfinite().all())


def test_budget_gates_compete_for_the_size() -> None:
    """Whoever pulls all gates alike moves nothing: the gradient along the costs is zero."""
    costs = torch.tensor([3.0, 10.0, 500.0, 40.0])
    family = make("budget", costs)
    family.set_target(200.0, "per_task")
    with torch.no_grad():
        family.logits.copy_(torch.tensor([[0.3, -1.0, 0.5, 2.0]]))
    (gradient,) = torch.autograd.grad((family.sample(torch.Generator()) * costs).sum(), [family.logits])
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-4)


def test_proximal_comes_to_the_closed_form_of_the_lasso() -> None:
    """½‖y − Xz‖² + λ·Σ c̃|z| with orthonormal X has the solution soft(Xᵀy, λ·c̃), zeros included."""
    generator = torch.Generator().manual_seed(1)
    x, _ = torch.linalg.qr(torch.randn(30, 8, generator=generator))
    y = torch.randn(30, generator=generator) * 1.5
    costs = torch.tensor([1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0])
    family = make("proximal", costs)
    optimizer = family.optimizer(0.2)
    for _ in range(400):
        optimizer.zero_grad()
        z = family.sample(torch.Generator())[0]
        (0.5 * (y - x @ z).square().sum()).backward()
        optimizer.step()
        family.after_step(0.2, 0.4)
    projected, threshold = x.T @ y, 0.4 * costs / costs.mean()
    solution = projected.sign() * (projected.abs() - threshold).clamp(min=0)
    assert 2 <= int((solution == 0).sum()) <= 6
    torch.testing.assert_close(family.value()[0].detach(), solution, rtol=0, atol=1e-5)
    assert torch.equal(family.value()[0] == 0, solution == 0), "zeros are exact"
    assert torch.equal(family.is_open()[0], solution != 0)


def test_hard_concrete_samples_are_zero_as_often_as_it_says() -> None:
    family = make("hard_concrete", torch.ones(4))
    with torch.no_grad():
        family.logits.copy_(torch.tensor([[-2.0, -0.5, 0.0, 1.5]]))
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([family.sample(generator).detach() for _ in range(20_000)])
    share = (draws != 0).float().mean(0)
    torch.testing.assert_close(share, family.openness().detach(), rtol=0, atol=4 * 0.5 / 20_000**0.5)


def test_straight_through_draws_zero_or_one_with_soft_gradients() -> None:
    family = make("straight_through", torch.ones(3))
    with torch.no_grad():
        family.logits.copy_(torch.tensor([[-1.0, 0.0, 2.0]]))
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([family.sample(generator).detach() for _ in range(20_000)])
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(draws.mean(0), family.openness().detach(), rtol=0, atol=4 * 0.5 / 20_000**0.5)
    (gradient,) = torch.autograd.grad(family.sample(generator).sum(), [family.logits])
    assert bool((gradient > 0).all())


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("geometric", [4.0, 2.0, 1.0]), ("linear", [4.0, 2.5, 1.0]), ("constant", [1.0, 1.0, 1.0])],
)
@pytest.mark.parametrize("name", GATES.names())
def test_temperatures_follow_their_schedule(name: str, schedule: str, expected: list[float]) -> None:
    family = make(name, torch.ones(2), temperature=1.0, temperature_start=4.0, temperature_schedule=schedule)
    seen = []
    for share in (0.0, 0.5, 1.0):
        family.set_progress(share)
        seen.append(family.temperature)
    assert seen == pytest.approx(expected)


def test_families_have_temperatures_of_their_own() -> None:
    family = make("straight_through", torch.ones(2), temperature=None)
    assert family.temperature == 5.0
    family.set_progress(1.0)
    assert family.temperature == 1.0
