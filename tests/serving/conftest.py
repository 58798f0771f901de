from pathlib import Path

import pytest
from trained import ROLES, train, write_clicks

SMALL = ("data=synthetic", "data.users=60", "data.items=40", "data.positives=8", "batch_size=64")


@pytest.fixture(scope="session")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serving")
    write_clicks(folder / "clicks.csv")
    return folder


@pytest.fixture(scope="session")
def clicks(room: Path) -> Path:
    """A factorization machine of the clicks, with context: numbers, lists, transforms."""
    return train(room, "clicks", "model=fm", "data=csv", "data.path=clicks.csv", "protocol=ctr", *ROLES)


@pytest.fixture(scope="session")
def deep(room: Path) -> Path:
    """A model that is not two-sided, on the same."""
    options = ("model=deepfm", "model.hidden=[8]", "model.batch_norm=true")
    return train(room, "deep", *options, "data=csv", "data.path=clicks.csv", "protocol=ctr", *ROLES)


@pytest.fixture(scope="session")
def two_sided(room: Path) -> Path:
    """User and item alone, with attributes."""
    return train(room, "two_sided", "model=fm", "optimizer.lr=0.1", *SMALL)


@pytest.fixture(scope="session")
def hyperbolic(room: Path) -> Path:
    """Its link is not the identity."""
    return train(room, "hyperbolic", "model=hyperml", *SMALL)


@pytest.fixture(scope="session")
def curved(room: Path) -> Path:
    """Its link depends on a number that was learned."""
    options = ("model.curvature=2", "model.learn_curvature=true", "optimizer.lr=0.5")
    return train(room, "curved", "model=hyperml", *options, *SMALL)


@pytest.fixture(scope="session")
def constant(room: Path) -> Path:
    """All scores are equal."""
    return train(room, "constant", "model=constant", *SMALL)
