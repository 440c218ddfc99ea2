"""What several tests of morphology read: small inputs that broke other tools."""
from pathlib import Path

import pytest

from drugnb.core.settings import data_folders, read_settings


@pytest.fixture(scope="module")
def cases():
    "Small inputs that broke other tools; tests over them are skipped where they are not."
    folder = data_folders(read_settings(Path(__file__).parents[2]))[-1].with_name("cases")/"morphology"
    if not folder.is_dir(): pytest.skip("the folder of small inputs that broke other tools is not there")
    return folder
