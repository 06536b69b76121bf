"""What defences take from attackers and from honest users: results and page of defences-….

Lists of cells, all with "defence" (its name and settings), "seed" of the client and "setting":

    benign   "accuracy" of an honest user's answers, "l1" how far they were moved, "kept" the share
             whose best class stayed, "victim_ms" and "defence_ms" in the gate, an image
    thefts   for each attacker ("thief"): "queries", "accuracy" and "fidelity" of the surrogate,
             "l1" and "kept" on the images it asked, "cpu_seconds"
    wire     for each policy and client of a defence that was tried with a price, too: KEPT of its
             summary, and total, solve and server seconds an image
    learning for what surrogates have learnt ("source", "images", "epochs") and "queries": how often
             a surrogate is "right", what honest users get, how often the best score is that of the
             surrogates' own class, and what the attacker gets. Was made by code that is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.learning.artifacts import write_atomically
from experiments import sweep
from experiments.docs import write_block
from experiments.groups import Attacker
from experiments.records import Run
from experiments.report.lines import Drawing, Line, Panel, lines
from experiments.report.tables import NOTHING, Column, markdown, whole
from experiments.studies.collect import Cell, Content, Estimate, among, load, revisions

KEYS = {
    "benign": ("defence", "seed"),
    "thefts": ("defence", "thief", "seed"),
    "wire": ("defence", "policy", "client", "seed"),
    "learning": ("defence", "source", "images", "epochs", "queries", "seed"),
}
SCENARIOS = ("defences-mnist", "defences-cifar10")
KEPT = ("images", "accuracy", "fidelity", "work_per_image", "hashes", "slowdown", "status")
"""What a cell over the wire has of the summary of a client."""
CAPTION = (
    "Accuracy of clones (mean over seeds) against the mean L1 distance of answers, on the images"
    " the attacker asked (left) and on honest ones (right). Dotted: without a defence."
)


# ── from a run ───────────────────────────────────────────────────────────────────────────────────


def cells(folder: Path, run: Run, summary: Mapping[str, Any]) -> Iterator[tuple[str, Cell]]:
    """The cells of a run."""
    scenario = run.scenario
    shield, priced = label(scenario["server"]), len(summary["arms"]) > 1
    for arm in summary["arms"]:
        for place, (client, given) in enumerate(
            zip(arm["clients"], scenario["clients"], strict=True)
        ):
            seed, images = given["seed"], client["images"]
            key = {
                "defence": shield,
                "seed": scenario["seed"] + 1 + place if seed is None else seed,
            }
            if priced:
                per_image = {
                    f"{part}_seconds": client["seconds"][part] / images
                    for part in ("total", "solve", "server")
                }
                found = {name: client[name] for name in KEPT} | per_image
                who = {"policy": arm["policy"], "client": client["group"]}
                yield "wire", {**key, **who, **found, "setting": setting(given)}
            if arm["policy"] != "none":
                continue
            moved = {"l1": 0.0, "kept": 1.0} if client["l1"] is None else client
            moved = {name: round(moved[name], 5) for name in ("l1", "kept")}
            if client["kind"] == "honest":
                spent = {
                    f"{part}_ms": round(1e3 * client["seconds"][part] / images, 4)
                    for part in ("victim", "defence")
                }
                found = {"accuracy": client["right"], **moved, **spent}
                yield "benign", {**key, **found, "setting": setting(given)}
            else:
                found = {name: client[name] for name in ("accuracy", "fidelity")} | moved
                found |= {"queries": images, "cpu_seconds": round(client["seconds"]["cpu"], 1)}
                yield (
                    "thefts",
                    {**key, "thief": client["label"], **found, "setting": setting(given)},
                )


def setting(client: Mapping[str, Any]) -> dict[str, Any]:
    """What a cell of a client depends on, beside the defence and the seed."""
    names = ("attack", "pool", "config", "pool_size", "images")
    return {name: client[name] for name in names if name in client}


def label(server: Mapping[str, Any]) -> str:
    """A defence and its settings, as a row says it; the L1 budget epsilon is called budget."""
    settings = [
        f"{'budget' if name == 'epsilon' else name}={_short(value)}"
        for name, value in server["defence_config"].items()
    ]
    return " ".join([server["defence"], *settings])


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


# ── the page ─────────────────────────────────────────────────────────────────────────────────────


def write_docs(docs: Path) -> None:
    """Rewrites the figures and the block of defences.md."""
    parts: list[str] = []
    for scenario in SCENARIOS:
        content = load(docs / "results" / f"{scenario}.json", KEYS)
        if content is not None:
            study = Study(scenario, content)
            parts += study.parts()
            drawing = study.draw()
            write_atomically(docs / "results" / f"{scenario}.svg", f"{drawing.svg}\n".encode())
    write_block(docs / "defences.md", "defences", "\n".join(parts))


class Study:
    """The results of one scenario, in the order that it has."""

    def __init__(self, scenario: str, content: Content) -> None:
        runs = [run.scenario for run in sweep.load(scenario)]
        self.name, self.content = scenario, content
        self.title, self.victim = content["title"], content["victim"]
        self.shields = {label(asdict(run.server)): asdict(run.server) for run in runs}
        attackers = [client for client in runs[0].clients if isinstance(client, Attacker)]
        pools = {each.pool: each.label for each in reversed(attackers)}
        self.attackers = list(dict.fromkeys(each.label for each in attackers))
        self.pools = list(reversed(pools.values()))  # the first attacker that asks from each

    def parts(self) -> Iterator[str]:
        """Sentences and tables, in Markdown."""
        thefts, benign, wire = (self.content[kind] for kind in ("thefts", "benign", "wire"))
        again = f"again by `python -m experiments run {self.name} --data FOLDER`"
        if thefts:
            queries = sorted({cell["queries"] for cell in thefts})
            yield (
                f"### {self.title}\n\n"
                f"{self.victim['network']}, {100 * self.victim['accuracy']:.1f} % right on"
                f" {self.victim['images']:,} held-out images; attackers ask"
                f" {' or '.join(f'{n:,}' for n in queries)} images. Clones: accuracy (fidelity), in"
                f" %. [{self.name}.json](results/{self.name}.json), made at"
                f" {revisions([*thefts, *benign])}; {again}.\n"
            )
            yield self._table("thefts", self._clones())
            yield f"![{CAPTION}](results/{self.name}.svg)\n"
            yield (
                "What that costs: honest users' accuracy in %, mean L1 moved on their images and on"
                " those of each attacker, and milliseconds an image in the gate.\n"
            )
            yield self._table("benign", self._costs())
        if wire:
            yield (
                f"### {self.title}, with and without proof of work, over loopback\n\n"
                f"The same victim and attackers, each a process, beside an honest user; all ask at"
                f" once, without work and with the work that policy `rate` asks. An image:"
                f" milliseconds of the client's wall time, on a machine that had other work, too;"
                f" solving is drawn, not spent; work in hashes; the server's CPU time is that of"
                f" victim and defence, from the table above. Made at {revisions(wire)}; {again}.\n"
            )
            yield self._wire()
        if self.content["learning"]:
            yield from self._learning()

    def _table(self, kind: str, columns: Sequence[Column]) -> str:
        """A row for each defence that has cells of a kind."""
        rows = [{"defence": shield} for shield in self.shields]
        there = {cell["defence"] for cell in self.content[kind]}
        return markdown(columns, [row for row in rows if row["defence"] in there])

    def _clones(self) -> list[Column]:
        thefts = self.content["thefts"]

        def seeds(row: Mapping[str, Any]) -> int:
            return len({cell["seed"] for cell in among(thefts, **row)})

        def clone(attacker: str) -> Callable[[Mapping[str, Any]], str]:
            return lambda row: _clone(among(thefts, thief=attacker, **row))

        return [
            Column("defence", "and its settings", "defence"),
            Column("seeds", "of the attacker", seeds, whole),
            *(Column(each, "its clone", clone(each), _right) for each in self.attackers),
        ]

    def _costs(self) -> list[Column]:
        benign, thefts = self.content["benign"], self.content["thefts"]

        def honest(key: str) -> Callable[[Mapping[str, Any]], Estimate | None]:
            return lambda row: _of(among(benign, **row), key)

        def asked(attacker: str) -> Callable[[Mapping[str, Any]], Estimate | None]:
            return lambda row: _of(among(thefts, thief=attacker, **row), "l1")

        return [
            Column("defence", "and its settings", "defence"),
            Column("honest accuracy", "of answers", honest("accuracy"), _percent),
            Column("top class kept", "by honest answers", honest("kept"), _share),
            Column("L1, honest", "how far honest answers were moved", honest("l1"), _mean),
            *(Column(f"L1, {each}", "its answers", asked(each), _mean) for each in self.pools),
            Column("victim ms", "an image", honest("victim_ms"), _mean),
            Column("defence ms", "an image", honest("defence_ms"), _mean),
        ]

    def _wire(self) -> str:
        """A row for each defence and client, whose policies are side by side."""
        wire, benign = self.content["wire"], self.content["benign"]
        policies = list(dict.fromkeys(cell["policy"] for cell in wire))
        priced = [policy for policy in policies if policy != "none"]

        def of(policy: str, key: str) -> Callable[[Mapping[str, Any]], Estimate | None]:
            return lambda row: _of(among(wire, policy=policy, **row), key)

        def clone(policy: str) -> Callable[[Mapping[str, Any]], str]:
            return lambda row: _clone(among(wire, policy=policy, **row))

        def seeds(row: Mapping[str, Any]) -> int:
            return len(list(among(wire, policy=policies[0], **row)))

        def spent(row: Mapping[str, Any]) -> Estimate | None:
            mine = among(benign, defence=row["defence"])
            return Estimate.of(cell["victim_ms"] + cell["defence_ms"] for cell in mine)

        columns = [
            Column("defence", "and its settings", "defence"),
            Column("client", "of the scenario", "client"),
            Column("seeds", "of the client", seeds, whole),
            *(Column(f"clone, {each}", "of the client", clone(each), _right) for each in policies),
            *(
                Column(f"client ms, {each}", "an image", of(each, "total_seconds"), _ms)
                for each in policies
            ),
        ]
        for each in priced:
            columns.append(
                Column(f"of it solving, {each}", "an image", of(each, "solve_seconds"), _ms)
            )
            columns.append(Column(f"work, {each}", "hashes", of(each, "work_per_image"), _hashes))
        columns.append(Column("server CPU ms", "an image", spent, _mean))
        pairs = dict.fromkeys((cell["defence"], cell["client"]) for cell in wire)
        return markdown(columns, [{"defence": shield, "client": who} for shield, who in pairs])

    def _learning(self) -> Iterator[str]:
        cells = self.content["learning"]
        shield = cells[-1]["defence"]
        yield (
            f"### {self.title}, by what the surrogates have learnt\n\n"
            f"{shield} against `{self.attackers[0]}`: how often a surrogate is right on held-out"
            f" images, how often the best score is that of the surrogates' own class, what honest"
            f" users get, and the accuracy of clones, in %. Made at {revisions(cells)} by code that"
            f" is no longer here (`experiments/defences/learning.py`).\n"
        )
        queries = sorted({cell["queries"] for cell in cells})

        def once(key: str) -> Callable[[Mapping[str, Any]], Estimate | None]:
            return lambda row: _of(among(cells, queries=queries[0], **row), key)

        def clone(asked: int) -> Callable[[Mapping[str, Any]], Estimate | None]:
            return lambda row: _of(among(cells, queries=asked, **row), "accuracy")

        def seeds(row: Mapping[str, Any]) -> int:
            return len(list(among(cells, queries=queries[0], **row)))

        columns = [
            Column("surrogates learnt", "from what", _learnt),
            Column("seeds", "of the attacker", seeds, whole),
            Column("right", "surrogates", once("right"), _share),
            Column("own class, honest", "best score", once("own_class_honest"), _share),
            Column("own class, thief's", "best score", once("own_class_asked"), _share),
            Column("honest accuracy", "of answers", once("honest_accuracy"), _share),
            Column("L1, honest", "of answers", once("honest_l1"), _mean),
            *(Column(f"clone of {n:,}", "accuracy", clone(n), _percent) for n in queries),
        ]
        names = ("defence", "source", "images", "epochs")
        rows = dict.fromkeys(tuple(cell[name] for name in names) for cell in cells)
        yield markdown(columns, [dict(zip(names, row, strict=True)) for row in rows])

    def draw(self) -> Drawing:
        """A row for each attacker, one point for each defence that it met."""
        thefts, panels = self.content["thefts"], []
        for attacker in self.attackers:
            mine = list(among(thefts, thief=attacker))
            for moved, where in (
                (mine, f"{attacker}: its images"),
                (self.content["benign"], "honest images"),
            ):
                panels.append(self._panel(mine, moved, where))
        title = f"{self.title}: clones against the distance of answers"
        return lines(self.name, title, CAPTION, panels, across=2, size=(4.2, 2.3), share=True)

    def _panel(self, thefts: Sequence[Cell], moved: Sequence[Cell], title: str) -> Panel:
        kinds: dict[str, list[tuple[float, float]]] = {}
        for shield, server in self.shields.items():
            x = _of(among(moved, defence=shield), "l1")
            y = _of(among(thefts, defence=shield), "accuracy")
            if x is not None and y is not None:
                untrained = ", untrained" if server["defence_config"].get("untrained") else ""
                kind = f"{server['defence']}{untrained}"
                kinds.setdefault(kind, []).append((x.mean, 100 * y.mean))
        bare = kinds.pop("none", [])
        drawn = []
        for kind, points in kinds.items():
            x_s, y_s = zip(*sorted(points), strict=True)
            drawn.append(Line(kind, x_s, y_s, ""))
        return Panel(
            drawn,
            title=title,
            x="mean L1 distance of an answer",
            y="accuracy (%)",
            bottom=0,
            top=100,
            level=(bare[0][1], "no defence") if bare else None,
        )


def _of(cells: Iterator[Cell], key: str) -> Estimate | None:
    return Estimate.of(cell.get(key) for cell in cells)


def _clone(cells: Iterator[Cell]) -> str:
    """Accuracy, and fidelity in brackets; of an honest user there is none."""
    known = [cell for cell in cells if cell["accuracy"] is not None]
    accuracy, fidelity = (
        Estimate.of(cell[key] for cell in known) for key in ("accuracy", "fidelity")
    )
    return f"{_percent(accuracy)} ({_share(fidelity)})" if accuracy and fidelity else NOTHING


def _right(text: str) -> str:
    """Aligns text to the right."""
    return text


def _percent(found: Estimate) -> str:
    return found.percent(1)


def _share(found: Estimate) -> str:
    return f"{100 * found.mean:.1f}"


def _mean(found: Estimate) -> str:
    return f"{found.mean:.3g}"


def _ms(found: Estimate) -> str:
    return f"{1e3 * found.mean:.3g}"


def _hashes(found: Estimate) -> str:
    return f"{found.mean:,.0f}"


def _learnt(row: Mapping[str, Any]) -> str:
    if row["defence"] == "none":
        return "no defence"
    if not row["epochs"]:
        return "nothing"
    whose = "own images" if row["source"] == "own" else "of the images asked"
    times = "once" if row["epochs"] == 1 else f"{row['epochs']} times"
    return f"{row['images']:,} {whose}, {times}"
