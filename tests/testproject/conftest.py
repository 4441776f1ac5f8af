import pytest


@pytest.fixture
def var_dir(settings, tmp_path):
    """A folder of the test's own for what the example project writes."""
    settings.VAR_DIR = tmp_path
    return tmp_path
