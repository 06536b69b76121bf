"""Artifacts: tensors and facts about them in one safetensors file, never pickled.

The header carries the facts as JSON and a SHA-256 over facts and tensors, so that a file which lost
or changed a byte is refused. Writing is atomic: a reader sees the old file or the new one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.arrays import digest
from core.documents import parse_json
from core.private import opener, parents

if TYPE_CHECKING:
    import torch

    from core.learning.networks import Network

HEADER = "powgate"  # the one key of the safetensors metadata: its JSON is ours


class ArtifactError(ValueError):
    """A file that is missing, damaged, of another kind, or that cannot be written; one line."""


def save(
    path: Path | str,
    tensors: Mapping[str, NDArray[Any] | torch.Tensor],
    meta: Mapping[str, object],
) -> None:
    """Write tensors and their facts to one private file, atomically. Raises ArtifactError."""
    from safetensors.numpy import save as encode

    path = Path(path)
    arrays = {name: _array(path, name, tensor) for name, tensor in tensors.items()}
    try:
        facts = json.dumps(dict(meta), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"cannot write {path}: its facts are not JSON ({error})") from error
    known = json.loads(facts)  # as a reader will see them
    header = json.dumps({"meta": known, "sha256": _checksum(known, arrays)})
    write_atomically(path, encode(arrays, metadata={HEADER: header}), private=True)


def load(path: Path | str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The tensors and the facts of a file written by `save`. Raises ArtifactError."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise ArtifactError(f"no artifact at {path}")
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror or _line(error)}") from error
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ArtifactError(f"{path} is damaged or not an artifact: {_line(error)}") from error
    if HEADER not in metadata:
        raise ArtifactError(f"{path} is a safetensors file, but not one that powgate wrote")
    try:
        header = parse_json(metadata[HEADER])
        meta, checksum = dict(header["meta"]), header["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path} is damaged: its header cannot be read: {_line(error)}"
        ) from error
    if _checksum(meta, arrays) != checksum:
        raise ArtifactError(f"{path} is damaged: its content does not match its checksum")
    return arrays, meta


def save_network(path: Path | str, network: Network, **meta: object) -> None:
    """Write a network's weights and what is needed to build it again. Raises ArtifactError."""
    plan = {"name": network.name, "shape": network.shape, "classes": network.classes}
    save(path, network.state_dict(), {"kind": "network", "network": plan, "facts": meta})


def load_network(path: Path | str) -> tuple[Network, dict[str, Any]]:
    """A network in evaluation mode, and the facts it was saved with. Raises ArtifactError."""
    from core.learning.networks import restore

    arrays, meta = load(path)
    if meta.get("kind") != "network":
        raise ArtifactError(f"{path} holds no network (kind {meta.get('kind', 'not given')!r})")
    try:
        plan = meta["network"]
        network = restore(plan["name"], tuple(plan["shape"]), plan["classes"], arrays)
        return network, dict(meta["facts"])
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        said = f"{path} holds a network that cannot be built: {_line(error)}"
        raise ArtifactError(said) from error


def fingerprint(parts: Mapping[str, object]) -> str:
    """SHA-256 (hex) of canonical JSON; arrays and bytes stand in it by the hash of their content.

    Keys are strings, order does not matter, tuples read as lists. Raises TypeError for a value
    whose content is not well defined and ValueError for NaN and infinities.
    """
    text = json.dumps(_canonical(parts, "parts"), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def weights_digest(network: Network) -> str:
    """SHA-256 (hex) of all weights and buffers of a network, by name."""
    return _content("weights", {k: v.detach().numpy() for k, v in network.state_dict().items()})


def write_atomically(path: Path | str, data: bytes, *, private: bool = False) -> None:
    """Replace a file by these bytes, or leave it as it was. Raises ArtifactError.

    The parent folder is created. The data are on the disk before the name points at them. What is
    `private` only its owner can read, whatever the umask and the mode of the file before.
    """
    path = Path(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        if private:
            parents(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(draft, "xb", opener=opener if private else None) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise ArtifactError(f"cannot write {path}: {error.strerror or error}") from error


def _array(path: Path, name: str, tensor: NDArray[Any] | torch.Tensor) -> NDArray[Any]:
    try:
        array = tensor if isinstance(tensor, np.ndarray) else tensor.detach().cpu().numpy()
    except (AttributeError, TypeError) as error:
        raise ArtifactError(
            f"cannot write {path}: {name!r} is {getattr(tensor, 'dtype', type(tensor))}, "
            "expected an array or a tensor that numpy can hold"
        ) from error
    if array.dtype.kind not in "biuf":
        raise ArtifactError(
            f"cannot write {path}: {name!r} has dtype {array.dtype}, expected numbers"
        )
    # np.ascontiguousarray would turn a scalar into a vector
    return np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")


def _checksum(meta: dict[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    return _content(json.dumps(meta, sort_keys=True), arrays)


def _content(facts: str, arrays: Mapping[str, NDArray[Any]]) -> str:
    state = hashlib.sha256(digest("json", (), facts.encode()))
    for name in sorted(arrays):
        state.update(digest("name", (), name.encode()))
        state.update(_array_digest(arrays[name]))
    return state.hexdigest()


def _array_digest(array: NDArray[Any]) -> bytes:
    little = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    return digest(little.dtype.str, little.shape, little.data if little.size else b"")


def _canonical(value: object, where: str) -> object:
    match value:
        case None | str() | bool() | int() | float():
            return value
        case np.generic():
            return _canonical(value.item(), where)
        case bytes():
            return {"bytes sha256": hashlib.sha256(value).hexdigest()}
        case np.ndarray() if value.dtype.kind in "biuf":
            return {"array sha256": _array_digest(value).hex()}
        case list() | tuple():
            return [_canonical(item, f"{where}[{i}]") for i, item in enumerate(value)]
        case Mapping():
            for key in value:
                if not isinstance(key, str):
                    raise TypeError(f"{where} has the key {key!r}, expected a string")
            return {key: _canonical(item, f"{where}[{key!r}]") for key, item in value.items()}
    raise TypeError(
        f"{where} is a {type(value).__name__}, expected JSON values, numeric arrays or bytes"
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
