import pytest


@pytest.fixture
def blesses(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be written anew from what KAT renders now."""
    return bool(request.config.getoption("--bless"))
