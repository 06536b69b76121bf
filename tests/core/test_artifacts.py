import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from meaning import assert_same_answers
from safetensors.numpy import save_file

from core.learning.artifacts import (
    ArtifactError,
    fingerprint,
    load,
    load_network,
    save,
    save_network,
    weights_digest,
    write_atomically,
)
from core.learning.networks import NAMES, build
from core.learning.training import logits

SLOWLY = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
arrays = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)


@given(
    st.dictionaries(st.text("abc.", min_size=1, max_size=4), arrays, max_size=4),
    st.dictionaries(st.text(max_size=4), json_values, max_size=4),
)
@SLOWLY
def test_what_is_saved_is_loaded(tmp_path, tensors, meta):
    path = tmp_path / "a.safetensors"
    save(path, tensors, meta)
    back, facts = load(path)
    assert facts == meta
    assert set(back) == set(tensors)
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        np.testing.assert_array_equal(back[name], tensor)
    assert os.listdir(tmp_path) == ["a.safetensors"]
    content = path.read_bytes()
    save(path, dict(reversed(tensors.items())), dict(reversed(meta.items())))
    assert load(path)[1] == meta
    save(path, tensors, meta)
    assert path.read_bytes() == content  # the same content gives the same bytes


def test_arrays_of_any_layout_keep_their_values(tmp_path):
    tensors = {
        "torch": torch.arange(6.0).reshape(2, 3).t(),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "big-endian": np.arange(3, dtype=">i4"),
    }
    save(tmp_path / "a", tensors, {"rate": (1, 2)})
    back, meta = load(tmp_path / "a")
    assert meta == {"rate": [1, 2]}
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(back[name], np.asarray(tensor))


@pytest.fixture(scope="module")
def artifact(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("artifact") / "a"
    save(path, {"x": np.arange(20, dtype=np.float32), "y": np.ones((2, 2))}, {"k": "v", "n": 1})
    return path.read_bytes()


@given(st.data())
@SLOWLY
def test_one_flipped_bit_anywhere_is_refused(tmp_path, artifact, data):
    damaged = bytearray(artifact)
    position = data.draw(st.integers(0, len(damaged) - 1))
    damaged[position] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path / "damaged"
    path.write_bytes(damaged)
    with pytest.raises(ArtifactError, match="damaged") as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_truncation_and_every_other_file_is_refused(tmp_path, artifact):
    path = tmp_path / "other"
    strangers = [b"not an artifact", b"\x80\x04K\x01.", b"\xff" * 64]
    for content in [artifact[:cut] for cut in range(0, len(artifact), 7)] + strangers:
        path.write_bytes(content)
        with pytest.raises(ArtifactError, match="damaged"):
            load(path)
    for absent in (tmp_path / "absent", tmp_path):
        with pytest.raises(ArtifactError, match=f"no artifact at {absent}"):
            load(absent)
    save_file({"x": np.ones(2)}, path)
    with pytest.raises(ArtifactError, match="not one that powgate wrote"):
        load(path)
    save_file({"x": np.ones(2)}, path, metadata={"powgate": "{}"})
    with pytest.raises(ArtifactError, match="header cannot be read"):
        load(path)


@pytest.mark.parametrize(
    ("tensors", "meta", "message"),
    [
        ({"x": np.array(["a"])}, {}, "'x' has dtype <U1, expected numbers"),
        ({"x": torch.ones(2, dtype=torch.bfloat16)}, {}, "'x' is torch.bfloat16"),
        ({"x": "text"}, {}, "'x' is <class 'str'>"),
        ({}, {"loss": float("nan")}, "its facts are not JSON"),
        ({}, {"path": Path("x")}, "its facts are not JSON"),
    ],
)
def test_what_cannot_be_saved_is_named_and_leaves_nothing(tmp_path, tensors, meta, message):
    with pytest.raises(ArtifactError, match=message):
        save(tmp_path / "a", tensors, meta)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_network_comes_back_the_same(tmp_path, name):
    shape = (3, 9, 8)
    network = build(name, shape, 7, seed=5)
    images = np.random.default_rng(1).integers(0, 256, (3, *shape), np.uint8)
    save_network(tmp_path / "n", network, seed=5, dataset="digits")
    back, facts = load_network(tmp_path / "n")
    assert facts == {"seed": 5, "dataset": "digits"}
    assert (back.name, back.shape, back.classes, back.width) == (name, shape, 7, network.width)
    assert not back.training
    assert weights_digest(back) == weights_digest(network)
    assert_same_answers(logits(back, images), logits(network, images))
    with torch.no_grad():
        back.head.bias[2] += 1e-5  # the digest sees every weight
    assert weights_digest(back) != weights_digest(network)


PLAN = {"name": "lenet-thin", "shape": [1, 8, 8], "classes": 3}


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({}, r"n holds no network \(kind 'not given'\)"),
        ({"kind": "heads"}, r"n holds no network \(kind 'heads'\)"),
        *(
            ({"kind": "network", "network": plan, "facts": {}}, "cannot be built")
            for plan in (
                None,
                PLAN | {"name": "lenet-thick"},
                PLAN | {"shape": [1, 8]},
                {"name": "lenet-thin", "shape": [1, 8, 8]},
            )
        ),
    ],
)
def test_what_is_no_network_is_refused(tmp_path, meta, message):
    save(tmp_path / "n", build("lenet-thin", (1, 8, 8), 3, seed=0).state_dict(), meta)
    with pytest.raises(ArtifactError, match=message) as caught:
        load_network(tmp_path / "n")
    assert "\n" not in str(caught.value)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "folder" / "file"
    write_atomically(path, b"old")

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArtifactError, match=f"cannot write {path}: No space left on device"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["file"]
    with pytest.raises(ArtifactError, match=r"cannot write .*file/a: "):
        save(path / "a", {}, {})


def test_a_fingerprint_reads_content():
    base = {"w": np.arange(6).reshape(2, 3), "n": 1, "secret": b"x"}
    same = {"secret": b"x", "n": np.int64(1), "w": np.asfortranarray(np.arange(6).reshape(2, 3))}
    assert fingerprint(base) == fingerprint(same)  # whatever the order of keys
    assert fingerprint({"a": (1, 2)}) == fingerprint({"a": [1, 2]})
    assert fingerprint({"a": np.arange(3, dtype="<i4")}) == fingerprint(
        {"a": np.arange(3, dtype=">i4")}
    )
    others = [
        base | {"n": 2},
        base | {"secret": b"y"},
        base | {"secret": "x"},
        base | {"w": np.arange(6).reshape(3, 2)},
        base | {"w": np.arange(6.0).reshape(2, 3)},
        base | {"more": None},
    ]
    assert len({fingerprint(parts) for parts in [base, *others]}) == 7
    # What a version wrote, a later one must recognise.
    parts = {"weights": np.arange(4, dtype=np.float32), "shape": (1, 28, 28), "rate": 0.5}
    assert fingerprint(parts) == "8d5b9caae08683a3996653e93945c8ebee0e9e1f15025a7f63d13ad141e6803e"


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ({"a": [1, {2}]}, TypeError, r"parts\['a'\]\[1\] is a set"),
        ({"a": {1: 2}}, TypeError, r"parts\['a'\] has the key 1, expected a string"),
        ({"a": np.array(["x"])}, TypeError, r"parts\['a'\] is a ndarray"),
        ({"a": float("nan")}, ValueError, "not JSON compliant"),
    ],
)
def test_what_has_no_canonical_form_is_refused(value, error, message):
    with pytest.raises(error, match=message):
        fingerprint(value)
