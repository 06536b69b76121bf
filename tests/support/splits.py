"""What holds of every dataset: five splits of images with labels."""

import numpy as np

from core.learning.datasets import SPLITS, Dataset


def check(dataset: Dataset) -> None:
    assert set(dataset.splits) == set(SPLITS)
    for split in dataset.splits.values():
        assert split.images.dtype == np.uint8
        assert split.images.shape == (len(split), *dataset.shape)
        assert split.labels.dtype == np.int64
        assert set(np.unique(split.labels)) <= set(range(dataset.classes))
