"""A model as the gate serves it: victim, measure, and the files both are kept in.

`HOME/models/NAME/` holds `victim.safetensors`, one `MEASURE.safetensors` for each measure, and one
`calibration-MEASURE.json` for each, MEASURE as `server.measures.file_stem` writes it, and
`surrogates-KIND.safetensors` for defences that look at some (`server.defences.trained`). The
fingerprint ties a calibration and its ledger rows to exactly one victim, data split and measure;
host, date and hash rate are not part of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import artifacts, datasets, networks, training
from server import measures
from server.defences.trained import prepare as prepare_surrogates
from server.measures import Measure
from server.victim import TorchVictim, Victim

VICTIM_SCHEDULE = training.Schedule(
    epochs=10, batch=64, lr=0.05, momentum=0.9, weight_decay=1e-4, decay="cosine"
)


@dataclass(frozen=True, slots=True)
class Model:
    """Victim and measure, ready to answer. `dataset` names the data the victim was trained on."""

    name: str
    dataset: str
    victim: Victim
    measure: Measure
    fingerprint: str

    @property
    def public_fingerprint(self) -> str:
        """The digits of the fingerprint that clients are told: enough to tell models apart."""
        return self.fingerprint[:16]


def folder(home: Path, name: str) -> Path:
    """Where the files of a model are. Raises ValueError for a name that is not one file name."""
    if not name or Path(name).name != name or name.startswith("."):
        raise ValueError(f"model name {name!r} must be one plain file name")
    return home / "models" / name


def prepare(
    home: Path,
    name: str,
    *,
    dataset: str,
    network: str,
    measure: str,
    seed: int,
    data: Path | None = None,
    defence: str = "none",
    surrogates: int = 3,
) -> list[str]:
    """Trains what is not there yet: victim, measure, and what a defence looks at.

    Returns what was made. Raises core.datasets.DatasetError, core.artifacts.ArtifactError, and
    ValueError where the model exists already with another dataset, network or seed, the measure is
    unknown, or there are to be no surrogates at all.
    """
    files, stem = folder(home, name), measures.file_stem(measure)
    made = []
    loaded = datasets.load(dataset, home=home, data=data)
    wanted = {"dataset": dataset, "split": loaded.fingerprint, "seed": seed}
    path = files / "victim.safetensors"
    if path.exists():
        victim, facts = artifacts.load_network(path)
        found = {**facts, "network": victim.name}
        for key, value in {**wanted, "network": network}.items():
            if found.get(key) != value:
                raise ValueError(
                    f"model {name} exists with {key} {found.get(key)!r}, not {value!r}; "
                    f"choose another name or remove {files}"
                )
    else:
        victim = networks.build(network, loaded.shape, loaded.classes, seed=seed)
        images = loaded.splits["victim"]
        training.fit(
            victim, images.images, images.labels, VICTIM_SCHEDULE, seed=seed, progress="victim"
        )
        artifacts.save_network(path, victim, **wanted)
        made.append("victim")
    path, digest = files / f"{stem}.safetensors", artifacts.weights_digest(victim)
    # A measure of another victim is worth nothing to this one: it is trained anew.
    if not path.exists() or artifacts.load(path)[1].get("victim") != digest:
        reference, _ = measures.reserve(measure, loaded.splits["calibration"])
        trained = measures.train(
            measure,
            TorchVictim(victim),
            loaded.splits["victim"],
            seed=seed,
            reference=reference,
            trained=_parts(files, measure, victim),
        )
        artifacts.save(
            path,
            trained.arrays(),
            {
                "kind": "measure",
                "measure": measure,
                "config": trained.config(),
                "victim": digest,
            },
        )
        made.append(measure)
    looked_at = prepare_surrogates(
        files, defence, victim, loaded.splits["victim"], seed=seed, count=surrogates
    )
    if looked_at is not None:
        made.append(looked_at)
    return made


def _parts(files: Path, measure: str, network: networks.Network) -> dict[str, Measure]:
    """Measures of this victim, and so of its seed, that `measure` is made of and that are there."""
    found, victim = {}, TorchVictim(network)
    for name in measures.parse(measure):
        path = files / f"{measures.file_stem(name)}.safetensors"
        if path.exists():
            arrays, about = artifacts.load(path)
            if about.get("victim") == artifacts.weights_digest(network):
                found[name] = measures.restore(name, arrays, about["config"], victim)
    return found


def load(home: Path, name: str, measure: str) -> Model:
    """A prepared model.

    Raises core.artifacts.ArtifactError where a file is missing, corrupt, or of another victim.
    """
    files, stem = folder(home, name), measures.file_stem(measure)
    network, meta = artifacts.load_network(files / "victim.safetensors")
    digest = artifacts.weights_digest(network)
    path = files / f"{stem}.safetensors"
    arrays, about = artifacts.load(path)
    if about.get("measure") != measure or about.get("victim") != digest:
        raise artifacts.ArtifactError(
            f"{path} is not measure {measure} of this victim; prepare the model again"
        )
    config: Mapping[str, Any] = about["config"]
    victim = TorchVictim(network)
    return Model(
        name=name,
        dataset=meta["dataset"],
        victim=victim,
        measure=measures.restore(measure, arrays, config, victim),
        fingerprint=artifacts.fingerprint(
            {
                "weights": digest,
                "split": meta["split"],
                "measure": measure,
                "config": config,
                # Retrained voters with an equal config are still another measure.
                "voters": artifacts.fingerprint(arrays),
            }
        ),
    )
