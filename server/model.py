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

from core import private
from core.learning import artifacts, datasets, networks, training
from server import measures
from server.defences.trained import prepare as prepare_surrogates
from server.measures import Measure
from server.victims import Victim, blank
from server.victims.local import LocalVictim

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
    split: str = ""  # fingerprint of the content of these data, splits and all

    @property
    def public_fingerprint(self) -> str:
        """The digits of the fingerprint that clients are told: enough to tell models apart."""
        return self.fingerprint[:16]


def folder(home: Path, name: str) -> Path:
    """Where the files of a model are. Raises ValueError for a name that is not one file name."""
    if not name or Path(name).name != name or name.startswith("."):
        raise ValueError(f"model name {name!r} must be one plain file name")
    return home / "models" / name


def victim_file(home: Path, name: str) -> Path:
    """The victim's weights."""
    return folder(home, name) / "victim.safetensors"


def measure_file(home: Path, name: str, measure: str) -> Path:
    """What a measure of this victim was trained to."""
    return folder(home, name) / f"{measures.file_stem(measure)}.safetensors"


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

    Returns what was made. The content of the data is pinned: the victim says what it was trained
    on, and where it is, as seen from any folder. Raises DatasetError, ArtifactError, and ValueError
    where the data are too few, the model exists already with other data, another network or seed,
    the measure is unknown, or there are to be no surrogates at all.
    """
    files = folder(home, name)
    dataset = datasets.located(dataset, data)
    loaded = datasets.load(dataset, home=home, data=data)
    images = loaded.splits["victim"]
    _check_size(loaded, measure)
    private.folder(files.parent)
    private.folder(files)
    made = []
    path = victim_file(home, name)
    wanted = {"dataset": dataset, "split": loaded.fingerprint, "seed": seed}
    if path.exists():
        trained, facts = artifacts.load_network(path)
        _check_same(name, files, facts | {"network": trained.name}, wanted | {"network": network})
        if facts.get("dataset") != dataset:  # the same data in another place
            artifacts.save_network(path, trained, **wanted)
    else:
        trained = networks.build(network, loaded.shape, loaded.classes, seed=seed)
        training.fit(
            trained, images.images, images.labels, VICTIM_SCHEDULE, seed=seed, progress="victim"
        )
        artifacts.save_network(path, trained, **wanted)
        made.append("victim")
    victim, digest = LocalVictim(trained), artifacts.weights_digest(trained)
    # A measure of another victim is worth nothing to this one: it is trained anew.
    if _stored(measure_file(home, name, measure), digest) is None:
        parts = {}  # that are there, of this victim and so of its seed
        for part in measures.parse(measure):
            path = measure_file(home, name, part)
            if (found := _stored(path, digest)) is not None:
                parts[part] = restored(path, part, *found, victim)
        reference, _ = measures.reserve(measure, loaded.splits["calibration"])
        new = measures.train(measure, victim, images, seed=seed, reference=reference, trained=parts)
        facts = {"kind": "measure", "measure": measure, "config": new.config(), "victim": digest}
        artifacts.save(measure_file(home, name, measure), new.arrays(), facts)
        made.append(measure)
    looked_at = prepare_surrogates(files, defence, trained, images, seed=seed, count=surrogates)
    return made if looked_at is None else [*made, looked_at]


def _stored(path: Path, victim: str) -> tuple[measures.Arrays, dict[str, Any]] | None:
    """What a file holds, if it is there and of the victim with these weights (digest)."""
    if not path.exists():
        return None
    arrays, about = artifacts.load(path)
    return (arrays, about) if about.get("victim") == victim else None


def _check_size(loaded: datasets.Dataset, measure: str) -> None:
    """Raises ValueError for data that are too few, before anything is trained on them."""
    wanted = measures.fewest(measure)
    for split, least in wanted.items():
        found = len(loaded.splits[split])
        if found < least:
            images = sum(len(part) for key, part in loaded.splits.items() if key != "held_out")
            raise ValueError(
                f"{loaded.name} has {images} training images, {found} of them for the {split} "
                f"split, where measure {measure} needs {least}; expected at least "
                f"{datasets.fewest_images(wanted)} training images"
            )


def _check_same(
    name: str, files: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]
) -> None:
    """Raises ValueError where a model exists with other data, another network or seed."""
    remedy = f"choose another name or remove {files}"
    if found.get("split") != wanted["split"] and found.get("dataset") == wanted["dataset"]:
        raise ValueError(
            f"model {name} was trained on data of SHA-256 {found.get('split')}, but "
            f"{wanted['dataset']} now has {wanted['split']}; {remedy}"
        )
    for key, value in wanted.items():
        # The place of an archive may change; what is in it may not.
        if found.get(key) != value and (key != "dataset" or found.get("split") != wanted["split"]):
            raise ValueError(
                f"model {name} exists with {key} {found.get(key)!r}, not {value!r}; {remedy}"
            )


def data_of(model: Model, *, home: Path, data: Path | None = None) -> datasets.Dataset:
    """The data that a model was trained on.

    Raises DatasetError for data that are not there, or no longer those.
    """
    loaded = datasets.load(model.dataset, home=home, data=data)
    datasets.check_content(loaded, model.split, f"model {model.name}")
    return loaded


def restored(
    path: Path,
    name: str,
    arrays: measures.Arrays,
    about: Mapping[str, Any],
    victim: Victim,
) -> Measure:
    """A measure that can price an image. Raises ArtifactError."""
    try:
        if "config" not in about:
            raise ValueError("it has no config")
        measure = measures.restore(name, arrays, about["config"], victim)
        measures.checked(measures.costs_of(measure, victim, blank(victim, 1)), name)
    except Exception as error:  # numpy and torch raise anything for numbers that fit nothing
        reason = " ".join(str(error).split()) or type(error).__name__
        raise artifacts.ArtifactError(
            f"{path} holds no measure {name} that can be used: {reason}; prepare the model again"
        ) from error
    return measure


def load(home: Path, name: str, measure: str) -> Model:
    """A prepared model.

    Raises ArtifactError where a file is missing, corrupt, or of another victim.
    """
    network, meta = artifacts.load_network(victim_file(home, name))
    for key in ("dataset", "split"):
        if not isinstance(meta.get(key), str):
            raise artifacts.ArtifactError(
                f"{victim_file(home, name)} does not say what {key} it was trained on; remove it "
                "and prepare the model again"
            )
    path, digest = measure_file(home, name, measure), artifacts.weights_digest(network)
    arrays, about = artifacts.load(path)
    if about.get("measure") != measure or about.get("victim") != digest:
        raise artifacts.ArtifactError(
            f"{path} is not measure {measure} of this victim; prepare the model again"
        )
    victim = LocalVictim(network)
    return Model(
        name=name,
        dataset=meta["dataset"],
        split=meta["split"],
        victim=victim,
        measure=restored(path, measure, arrays, about, victim),
        fingerprint=artifacts.fingerprint(
            {
                "weights": digest,
                "split": meta["split"],
                "measure": measure,
                "config": about["config"],
                # Retrained voters with an equal config are still another measure.
                "voters": artifacts.fingerprint(arrays),
            }
        ),
    )
