"""Face embedding -> coefficients: the only trained module, its initialisation, its optimiser.

`celeb_core.prepare.calibration` finds the closed-form initialisation; here it is applied.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from celeb_core.basis import over_std
from celeb_core.errors import TrainingDiverged
from celeb_core.formats.calibration_file import CALIBRATED, FACE_WIDTH, check_basis
from celeb_core.types import (
    Calibration,
    CelebBasis,
    MapperConfig,
    OptimiserConfig,
)

BETAS = (0.9, 0.999)  # Adam's own defaults
MIN_SCALE = 1.0  # of a float16 loss; gradients that overflow below it are no matter of the scale

log = logging.getLogger(__name__)


class CoefficientMapper(nn.Module):
    """One linear layer (512 -> k * p), without a norm ("free") or with the official one ("paper").

    "paper" (Celeb Basis, section 3.3): N(0, 1) weights, LeakyReLU(0.2), then the p numbers of each
    token embedding and text encoder to norm 1 on the *unscaled* components. "free": fan-in scaled
    weights, which start near the mean person.
    """

    std: Tensor

    def __init__(self, basis: CelebBasis, norm: str = "free", seed: int = 0) -> None:
        super().__init__()
        self.norm = norm
        encoders = len(basis.widths)
        self.shape = (basis.k, encoders, basis.p // encoders)
        self.linear = nn.Linear(FACE_WIDTH, basis.k * basis.p)
        spread = 1.0 if norm == "paper" else FACE_WIDTH**-0.5
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.linear.weight.normal_(0.0, spread, generator=generator)
            self.linear.bias.zero_()
        self.register_buffer("std", basis.std.clone(), persistent=False)

    def forward(self, face_embedding: Tensor) -> Tensor:
        """Map (b, 512) of unit norm to (b, k, p), in standard deviations of the celebrities."""
        raw: Tensor = self.linear(face_embedding).unflatten(-1, self.shape)
        if self.norm == "paper":
            raw = functional.normalize(functional.leaky_relu(raw, 0.2), dim=-1).flatten(-2)
            return over_std(raw, self.std)
        return raw.flatten(-2)

    def settled(self, coefficients: Tensor, share: float) -> Tensor:
        """Return the coefficients as they are; `share` of the planned steps is done."""
        return coefficients


class CalibratedMapper(nn.Module):
    """The closed-form initialisation, plus one trained layer (512 -> q) along its directions.

    In these, token embeddings say something about faces. With the many others, which change images
    too, a training would fit the one photo. The layer starts at zero.
    """

    down: Tensor
    up: Tensor
    bias: Tensor
    directions: Tensor
    correction: Tensor
    along: Tensor

    def __init__(
        self, shape: tuple[int, int], tensors: dict[str, Tensor], shrink: float = 1.0
    ) -> None:
        """Take the coefficients' shape (k, p), CALIBRATED tensors and the final factor."""
        super().__init__()
        self.shape, self.shrink = shape, shrink
        for name in CALIBRATED:
            self.register_buffer(name, tensors[name].float().clone())
        self.register_buffer("along", torch.linalg.pinv(self.directions), persistent=False)
        self.linear = nn.Linear(self.down.shape[1], self.directions.shape[1], bias=False)
        nn.init.zeros_(self.linear.weight)

    def forward(self, face_embedding: Tensor) -> Tensor:
        """Map (b, 512) of unit norm to (b, k, p), in standard deviations of the celebrities."""
        initial = face_embedding @ self.down.T @ self.up.T + self.bias
        offset = self.linear(face_embedding) @ self.directions.T
        coefficients: Tensor = (initial + offset).unflatten(-1, self.shape)
        return coefficients

    def settled(self, coefficients: Tensor, share: float) -> Tensor:
        """Shrink and correct what a training found (b, k, p), against the overshoot of guidance.

        `share` of the planned steps is done, 0 to 1; the longer the training, the more of both.
        """
        shrunk = coefficients * (1 - (1 - self.shrink) * share)
        found = shrunk.flatten(1) @ self.along.T  # (b, q)
        added = found @ self.correction[:, :-1].T + self.correction[:, -1]
        return shrunk + share * (added @ self.directions.T).view_as(shrunk)


def paper_noise(people: int, std: Tensor, seed: int) -> Tensor:
    """Return N(0, 1) on unscaled components (n, k, p): the official moving average starts there."""
    generator = torch.Generator().manual_seed(seed)
    return over_std(torch.randn((people, *std.shape), generator=generator), std)


Mapper: TypeAlias = CoefficientMapper | CalibratedMapper


def build_mapper(
    basis: CelebBasis, config: MapperConfig, calibration: Calibration | None, seed: int
) -> Mapper:
    """Build a mapper, from the calibration if there is one and the config wants it.

    Raises:
        BasisMismatch: The calibration is of another basis.
    """
    if calibration is None or not config.calibrated or config.norm == "paper":
        return CoefficientMapper(basis, config.norm, seed)
    check_basis(calibration, basis)
    tensors = {name: getattr(calibration, name) for name in CALIBRATED}
    return CalibratedMapper((basis.k, basis.p), tensors, config.shrink)


def build_optimiser(
    mapper: Mapper,
    nuisance_tokens: nn.Module | None,
    config: OptimiserConfig,
    people: int,
    sampled: bool = False,
) -> torch.optim.Optimizer:
    """Build AdamW for a plain mapper, TensorAdam for a calibrated one.

    `people` are those of a step; `sampled` says that others have their turn in other steps. Each
    one's nuisance tokens then have Adam's step when it is theirs, and only then.

    A face embedding has norm 1, so the steps of the 512 weights of a row add up to sqrt(512) times
    their mean length. In Adam's step, n people move each weight that they share sqrt(n) times less,
    for which only the official recipe does not make up.
    """
    calibrated = isinstance(mapper, CalibratedMapper)
    if isinstance(mapper, CoefficientMapper) and mapper.norm == "paper":
        people = 1
    rate = config.calibrated_learning_rate / FACE_WIDTH**0.5 if calibrated else config.learning_rate
    groups: list[dict[str, Any]] = []
    for part, lr in (
        (mapper, rate * people**0.5),
        (nuisance_tokens, config.nuisance_learning_rate),
    ):
        if part is not None:
            group = {"params": list(part.parameters()), "lr": lr, "initial_lr": lr}
            kind = {"per_tensor": part is mapper and calibrated, "per_row": part is not mapper}
            groups.append({**group, **kind} if sampled else {**group, "per_tensor": part is mapper})
    return TensorAdam(groups) if calibrated or sampled else torch.optim.AdamW(groups)


def check_state(
    optimiser: torch.optim.Optimizer, state: Mapping[int, Mapping[str, Tensor]]
) -> None:
    """Raise ValueError if a stored state, by number of the parameter, is not of this optimiser."""
    shapes: dict[int, dict[str, torch.Size]] = {}
    for group in optimiser.param_groups:
        averaged = isinstance(optimiser, TensorAdam) and group["per_tensor"]
        for parameter in group["params"]:
            square = torch.Size() if averaged else parameter.shape
            steps = {"step": torch.Size()}
            if group.get("per_row"):
                steps = {"row_steps": torch.Size((len(parameter), *[1] * (parameter.ndim - 1)))}
            shapes[len(shapes)] = {"exp_avg": parameter.shape, "exp_avg_sq": square, **steps}
    for index, tensors in state.items():
        if {name: tensor.shape for name, tensor in tensors.items()} != shapes.get(index):
            raise ValueError(f"the optimiser's state of parameter {index} does not fit")


class TensorAdam(torch.optim.Optimizer):
    """Adam whose second moment is one number per tensor, as NovoGrad's is (arXiv:1905.11286).

    Coordinates whose gradients are noise alone move little; in Adam, as far as any other. Groups
    with `per_tensor=False` are Adam's (arXiv:1412.6980, algorithm 1), the bias correction too.
    In those with `per_row=True` each row has steps of its own, and one without a gradient none.
    """

    def __init__(self, params: Iterable[dict[str, Any]], lr: float = 1e-3) -> None:
        super().__init__(params, {"lr": lr, "per_tensor": True, "per_row": False})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state, gradient = self.state[parameter], parameter.grad
                if group["per_row"]:
                    _step_rows(parameter, gradient, state, group["lr"])
                    continue
                square = gradient.square()
                square = square.mean() if group["per_tensor"] else square
                if not state:
                    state["step"], state["exp_avg"] = torch.zeros(()), torch.zeros_like(parameter)
                    state["exp_avg_sq"] = torch.zeros_like(square)
                state["step"] += 1
                state["exp_avg"].lerp_(gradient, 1 - BETAS[0])
                state["exp_avg_sq"].lerp_(square, 1 - BETAS[1])
                first, second = (1 - beta ** state["step"].item() for beta in BETAS)
                length = (state["exp_avg_sq"] / second).sqrt() + 1e-12
                parameter.sub_(group["lr"] * state["exp_avg"] / first / length)


def _step_rows(parameter: Tensor, gradient: Tensor, state: dict[str, Tensor], lr: float) -> None:
    """Make Adam's step in the rows that have a gradient, as if each were a parameter."""
    if not state:
        ones = (len(parameter), *[1] * (parameter.ndim - 1))
        state["row_steps"] = parameter.new_zeros(ones)
        state["exp_avg"], state["exp_avg_sq"] = (torch.zeros_like(parameter) for _ in range(2))
    rows = gradient.flatten(1).any(1).nonzero().flatten()
    part, steps = gradient[rows], state["row_steps"][rows] + 1
    mean = state["exp_avg"][rows].lerp(part, 1 - BETAS[0])
    square = state["exp_avg_sq"][rows].lerp(part.square(), 1 - BETAS[1])
    state["row_steps"][rows], state["exp_avg"][rows] = steps, mean
    state["exp_avg_sq"][rows] = square
    first, second = (1 - beta**steps for beta in BETAS)
    parameter[rows] -= lr * mean / first / ((square / second).sqrt() + 1e-12)


def optimiser_step(
    backward: Callable[[float], Tensor],
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    step: int,
) -> Tensor:
    """Make one step of the optimiser and return the losses (n,).

    `backward` adds the gradients of the loss times a scale to the optimiser's parameters and
    returns the losses; it is called again, with half the scale, when they overflow float16.

    Raises:
        TrainingDiverged: The loss is not finite.
    """
    while True:
        scale = scaler.get_scale()
        optimiser.zero_grad(set_to_none=True)
        with torch.enable_grad():
            losses = backward(scale)
        if apply_gradients(losses, optimiser, scaler, step):
            return losses


def apply_gradients(
    losses: Tensor, optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler, step: int
) -> bool:
    """Make a step with the gradients of these losses times the scaler's scale.

    Returns:
        Whether it was made: gradients that overflowed float16 are to be computed again.

    Raises:
        TrainingDiverged: The loss is not finite.
    """
    scale = scaler.get_scale()
    if not torch.isfinite(losses).all() or scale < MIN_SCALE:
        raise TrainingDiverged(
            f"The loss is no longer a number at step {step}. "
            "Train again with a lower learning rate, or in float32."
        )
    if scaler.is_enabled():
        scaler.scale(losses.new_ones(()))  # it refuses to step before it has scaled something
    scaler.step(optimiser)
    scaler.update()
    return scaler.get_scale() >= scale  # it falls after an overflow, and only then


def linear_decay(step: int, steps: int) -> float:
    """Return the factor on the learning rate after `step` of `steps` updates: 1 to a tenth."""
    return 1 - 0.9 * step / max(1, steps)
