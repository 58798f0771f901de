"""Any optimizer on any model: row-sparse gradients, points of a manifold, an optimizer for each role of parameters."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fmlab.contracts import EpochSchedule, HasRoles
from fmlab.errors import FmlabError, choices
from fmlab.manifolds import Euclidean, Manifold, ManifoldParameter, manifold_of

log = logging.getLogger("fmlab")
Make = Callable[[Iterable[nn.Parameter]], Optimizer]
MAIN = ""  # the role of parameters that have no optimizer of their own


def fit_optimizers(
    model: nn.Module, makes: Mapping[str, Make], names: Mapping[str, str]
) -> Callable[[nn.Module], Optimizer]:
    """What gives the optimizer of the model's parameters when the training begins.

    `makes`: by role what gives an optimizer of some parameters; `MAIN` is that of all other parameters. `names`: what
    messages call the optimizers. Raises FmlabError for a role that the model does not have, and for an optimizer that
    cannot step on its parameters; says how the others are fitted to the model.
    """
    roles = [role for role in makes if role != MAIN]
    fits = {r: _fit(makes[r], names[r], p) for r, p in _shares(model, roles).items() if p}

    def make(model: nn.Module) -> Optimizer:
        shares = _shares(model, roles)
        fitted = [_fitted(makes[role](shares[role]), fit) for role, fit in fits.items()]
        return fitted[0] if len(fitted) == 1 else SeveralOptimizers(fitted)

    return make


def roles_of(model: nn.Module) -> dict[str, list[str]]:
    """Names of parameters by role: as the model says, or `embedding` for rows of features and `dense` for the rest.

    Raises FmlabError where a model names a parameter that it does not have, or gives one two roles.
    """
    known = [name for name, _ in model.named_parameters()]
    if not isinstance(model, HasRoles):
        tables = _embeddings(model)
        return {"embedding": [n for n in known if n in tables], "dense": [n for n in known if n not in tables]}
    said = {role: list(names) for role, names in model.parameter_roles().items()}
    named = [name for names in said.values() for name in names]
    who = type(model).__name__
    for name in named:
        if name not in known:
            raise FmlabError(f"parameter_roles of {who} must name its parameters, got {name!r}; {choices(name, known)}")
        if named.count(name) > 1:
            raise FmlabError(f"parameter_roles of {who} must give a parameter one role, {name!r} has several")
    return said


def _embeddings(model: nn.Module) -> set[str]:
    found = set()
    for path, module in model.named_modules():
        rows = getattr(module, "feature_rows", None)
        names = ["weight"] if isinstance(module, nn.Embedding | nn.EmbeddingBag) else list(rows()) if rows else []
        names += getattr(module, "embedding_parameters", list)()
        found |= {f"{path}.{name}".lstrip(".") for name in names}
    return found


def _shares(model: nn.Module, roles: Sequence[str]) -> dict[str, list[nn.Parameter]]:
    """Parameters by role, `MAIN` for the rest."""
    parameters = dict(model.named_parameters())
    if not roles:
        return {MAIN: list(parameters.values())}
    known, shares = roles_of(model), {}
    for role in roles:
        if not known.get(role):
            there = [r for r, names in known.items() if names]
            raise FmlabError(f"optimizer.roles must name roles of {type(model).__name__}; {choices(role, there)}")
        shares[role] = [parameters.pop(name) for name in known[role]]
    return {MAIN: list(parameters.values()), **shares}


class _Fit(NamedTuple):
    """Whether gradients must be made dense, and whether points must be brought back to their manifold."""

    dense: bool
    leaves: bool


def _fitted(optimizer: Optimizer, fit: _Fit) -> Optimizer:
    """The optimizer as it is, or inside one that does for it what it does not do itself."""
    if not any(fit):
        return optimizer
    curved = [p for g in optimizer.param_groups for p in g["params"] if not isinstance(manifold_of(p), Euclidean)]
    return FittedOptimizer(optimizer, dense=fit.dense, points=curved if fit.leaves else ())


def _fit(make: Make, name: str, parameters: list[nn.Parameter]) -> _Fit:
    """Found by steps on small parameters; raises FmlabError."""
    dense, error = _steps(make, sparse=False), _steps(make, sparse=True)
    if error is not None and dense is not None:
        raise FmlabError(f"optimizer {name} cannot step: {type(dense).__name__}: {dense}")
    if dense is not None and any(p.dim() < 2 for p in parameters):
        raise FmlabError(
            f"optimizer {name} reads row-sparse gradients only, and the model has parameters without rows; "
            "optimizer.roles.embedding.name uses it for the tables alone"
        )
    if error is not None:
        count = sum(p.numel() for p in parameters)
        log.info(f"optimizer {name} reads no row-sparse gradients: {count:,} numbers are updated at each step")
    points = [p for p in parameters if not isinstance(manifold_of(p), Euclidean)]
    leaves = bool(points) and any(_leaves(make, *m) for m in {(manifold_of(p), p.shape[-1]) for p in points})
    if points and not getattr(make(points), "riemannian", False):
        kinds = ", ".join(sorted({type(manifold_of(p)).__name__ for p in points}))
        log.warning(
            f"optimizer {name} moves points of the manifold {kinds} as flat coordinates and brings them back to it "
            "after each step; a Riemannian optimizer follows its geometry"
        )
    return _Fit(error is not None, leaves)


def _steps(make: Make, *, sparse: bool) -> Exception | None:
    """What two steps of the optimizer on a small parameter raise; None if they work."""
    parameter = nn.Parameter(torch.ones(3, 2))
    try:
        optimizer = make([parameter])
        for _ in range(2):
            if sparse:
                rows = torch.tensor([[0, 2]])
                parameter.grad = torch.sparse_coo_tensor(rows, torch.ones(2, 2), (3, 2), check_invariants=False)
            else:
                parameter.grad = torch.tensor([[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]])
            optimizer.step()
        for value in optimizer.state[parameter].values():  # it would grow with every step
            if isinstance(value, Tensor) and value.is_sparse:
                raise ValueError("its state would be sparse")
    except Exception as error:
        return error
    return None


def _leaves(make: Make, manifold: Manifold, width: int) -> bool:
    """Whether steps outward move a point off its manifold, from as far out as points may be: small ones tell there."""
    parameter = ManifoldParameter(manifold.project(torch.full((2, width), 1e30)), manifold)
    optimizer = make([parameter])
    for _ in range(3):
        parameter.grad = torch.full((2, width), -1e6)
        optimizer.step()
    kept = manifold.project(parameter.detach())
    return not torch.allclose(kept, parameter.detach(), rtol=1e-6, atol=0)


class FittedOptimizer(Optimizer):
    """An optimizer that gets dense gradients, and whose points are brought back to their manifold after each step.

    Its groups, its state and its `state_dict` are those of the optimizer inside.
    """

    def __init__(self, inner: Optimizer, *, dense: bool, points: Sequence[nn.Parameter]) -> None:
        self.inner, self.dense, self.points = inner, dense, points
        super().__init__(inner.param_groups, {})
        self._link()

    def _link(self) -> None:
        self.param_groups, self.state = self.inner.param_groups, self.inner.state

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update; gives the loss of `closure`."""
        loss = evaluate(closure)
        if self.dense:
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None and parameter.grad.is_sparse:
                        parameter.grad = parameter.grad.to_dense()
        self.inner.step()
        for point in self.points:
            point.copy_(manifold_of(point).project(point))
        return loss

    def start_epoch(self, epoch: int) -> None:
        """Of an optimizer inside that has a schedule of its own."""
        if isinstance(self.inner, EpochSchedule):
            self.inner.start_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """That of the optimizer inside."""
        return self.inner.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Into the optimizer inside."""
        self.inner.load_state_dict(state_dict)
        self._link()


class SeveralOptimizers(Optimizer):
    """Optimizers of different parameters, which step together."""

    def __init__(self, parts: Sequence[Optimizer]) -> None:
        self.parts = list(parts)
        super().__init__([group for part in self.parts for group in part.param_groups], {})
        self._link()

    def _link(self) -> None:
        self.param_groups = [group for part in self.parts for group in part.param_groups]
        self.state.clear()
        self.state.update({p: s for part in self.parts for p, s in part.state.items()})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of each; gives the loss of `closure`."""
        loss = evaluate(closure)
        for part in self.parts:
            part.step()
        return loss

    def start_epoch(self, epoch: int) -> None:
        """Of each that has a schedule of its own."""
        for part in self.parts:
            if isinstance(part, EpochSchedule):
                part.start_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """A state for each, in their order."""
        return {"state": {}, "param_groups": [], "optimizers": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Into each; raises FmlabError for a state of other optimizers."""
        saved = state_dict.get("optimizers", ())
        if len(saved) != len(self.parts):
            raise FmlabError(f"the state of {len(self.parts)} optimizers must hold as many, got {len(saved)}")
        for part, state in zip(self.parts, saved, strict=True):
            part.load_state_dict(state)
        self._link()


def evaluate(closure: Callable[[], Any] | None) -> Tensor | None:
    """The loss, computed with gradients; None without a closure."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()
