"""A small model with random weights on the small data set, and how plots are checked."""

import numpy as np
import pytest
from PIL import Image

from fcp.data.episodes import sample_episodes
from fcp.data.lists import val_lists
from fcp.data.pascal import PascalVOC
from fcp.evaluation.predictor import FCPPredictor
from fcp.models.checkpoint import load_model


@pytest.fixture(scope="session")
def data(mini_voc):
    return PascalVOC(mini_voc)


@pytest.fixture(scope="session")
def predictor(model_folder):
    return FCPPredictor(load_model(model_folder))


@pytest.fixture(scope="session")
def episodes(data):
    return sample_episodes(val_lists(data, 1), shots=1, episodes=8, seed=0)


@pytest.fixture
def assert_drawn():
    """Check that a file is a PNG in which something in colour was drawn on white."""

    def check(path):
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        coloured = np.ptp(pixels, axis=2) > 40
        assert 0.001 < coloured.mean() < 0.95
        assert (pixels[0] == 255).all()

    return check
