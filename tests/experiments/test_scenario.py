"""Scenarios: the good ones are read, the bad ones are told everything that is wrong with them."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as settings_of
from hypothesis import strategies as st
from mutations import mutated
from scenarios import GOOD, broken

from experiments import groups, scenario, sweep
from experiments.groups import Attacker, Honest
from experiments.scenario import BUILT_IN, ScenarioError, check, load, parse

SERVER = {
    "measure": "surprisal:heads",
    "policies": ["rate"],
    "puzzle": "sha1",
    "t_max": 1.5,
    "virtual": False,
    "core": 0,
    "defence": "rounding",
    "defence_config": {},
}


def test_defaults_are_filled_in() -> None:
    good = parse(broken(server__measure="surprisal:heads+typicality"))
    assert (good.server.policies, good.server.defence) == (("none", "rate"), "none")
    assert good.clients[0] == Honest(name="ann", images=10)
    assert isinstance(good.clients[1], Attacker)
    assert good.clients[1].config == {"rounds": 2, "lr": 1}
    resolved = good.resolved()
    assert resolved["clients"][0]["kind"] == "honest"
    assert resolved["clients"][1]["solver"] == "native"


@pytest.mark.parametrize("name", sorted(path.stem for path in BUILT_IN.glob("*.toml")))
def test_the_scenarios_that_come_along_are_good(name: str) -> None:
    for cell in sweep.load(name):
        assert cell.scenario.name == name
        check(cell.scenario)  # as if it were made by hand


DOCUMENT = Path(__file__).parents[2] / "docs" / "scenarios.md"


@pytest.mark.parametrize("example", re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(), re.S))
def test_the_examples_of_the_document_are_good(example: str, tmp_path: Path) -> None:
    (tmp_path / "example.toml").write_text(example)
    assert sweep.load(str(tmp_path / "example.toml"))


def test_the_document_names_every_key() -> None:
    text = DOCUMENT.read_text()
    fields = {f.name for kind in (Honest, Attacker) for f in dataclasses.fields(kind)} - {"seed"}
    fields |= {
        f.name for kind in (scenario.Scenario, scenario.Server) for f in dataclasses.fields(kind)
    }
    for key in (fields | {"processes", "seeds", "arrival_rate", "extends"}) - {"source", "group"}:
        assert f"`{key}`" in text or f"[{key}]" in text, key


def test_names_agree_with_those_who_own_them() -> None:
    from core.learning import networks
    from pow.puzzle import ALGORITHMS

    assert set(groups.NETWORKS) == set(networks.NAMES)
    assert set(scenario.PUZZLES) <= set(ALGORITHMS)


def mad(**config: Any) -> dict[str, Any]:
    return {"defence": "mad", "defence_config": config}


CROWDS = [{**GOOD["clients"][0], "name": f"a{n}", "processes": 1000} for n in range(1_000)]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"seed": None}, "seed is missing"),
        ({"seed": -1}, "seed is -1, expected 0 to"),
        ({"name": "Good one"}, "name is 'Good one', expected lower-case"),
        ({"victim": None}, "victim is missing"),
        ({"victim__dataset": "digts"}, "is 'digts', expected one of mnist5k, digits, fashion"),
        ({"victim__dataset": "photos"}, "victim.dataset is 'photos'"),  # a pool, no labels
        ({"server__mesure": "heads"}, "server.mesure is not a known key; did you mean 'measure'?"),
        ({"server__measure": "surprisal:tipicality"}, "expected one of heads"),
        ({"server__policies": []}, "server.policies is [], expected a list of at least one"),
        ({"server__policies": ["rate", "rate"]}, "server.policies has 'rate' a second time"),
        ({"server__t_max": 0}, "server.t_max is 0.0, expected 0.001 to 86400"),
        ({"clients": None}, "clients is missing"),
        ({"clients": []}, "clients are nobody, expected at least one"),
        ({"clients__0": 5}, "clients[0] is 5, expected a table"),
        ({"clients__0__kind": ["honest"]}, "clients[0].kind is ['honest'], expected one of"),
        ({"clients__0__pool": "photos"}, "clients[0].pool is not a known key"),
        ({"clients__0__solver": "virtual"}, "which needs server.virtual = true"),
        ({"clients__1__attack": "knokoff"}, "did you mean 'knockoff'?"),
        ({"clients__1__pool": "npz:"}, "clients[1].pool is 'npz:'"),
        ({"clients__1__inside": "digits"}, "clients[1].inside is of no use to the attack knockoff"),
        ({"clients__1__attack": "inoutdist"}, "clients[1].inside is missing"),
        ({"clients__1__attack": "inoutdist", "clients__1__inside": "digit"}, "mean 'digits'?"),
        ({"clients__1__name": "ann"}, "clients[1].name is 'ann', as in clients[0]"),
        ({"clients__1__config__rounds": [1]}, "config.rounds is [1], expected a whole number"),
        ({"clients__1__config__lr": "high"}, "config.lr is 'high', expected a number"),
        ({"clients__1__config__decay": "stp"}, "is 'stp', expected one of constant, step, cosine"),
        ({"clients__1__config__epoch": 1}, "is not a known key; did you mean 'epochs'?"),
        ({"clients__1__name": "ann-1", "clients__0__processes": 2}, "'ann-1', as in clients[0]"),
        ({"clients__0__name": "bob-2", "clients__1__accounts": 2}, "but 'bob-2' is a process"),
        ({"clients__1__deal": "serial"}, "expected one of parallel, series; did you"),
        ({"clients__0__start": 1800}, "clients[0].start is 1800, expected less than the limit of"),
        ({"clients__0__arrival_rate": 0}, "arrival_rate is 0.0, expected 1e-06 to 1000000"),
        ({"clients__0__arrival_rate": 0.001, "clients__0__processes": 50}, "the last of 50 comes"),
        ({"clients__0__seeds": [4, 4]}, "clients[0].seeds has 4 a second time"),
        ({"clients__0__seeds": [4, 5], "clients__0__processes": 3}, "one for each of 3 processes"),
        # Groups.
        ({"clients__0__processes": 0, "clients__1__processes": 0}, "clients are nobody"),
        ({"clients__0__background": True, "clients__1__background": True}, "all in the background"),
        ({"clients__0__background": 1}, "clients[0].background is 1, expected true or false"),
        (
            {"clients__1__accounts": 10_000, "clients__1__processes": 1_000},
            "clients[1] brings the scenario to 1001 processes with 10000001 accounts; expected at"
            " most 10000 with 100000",
        ),
        ({"clients": CROWDS}, "clients[10] brings the scenario to 11000 processes with 11000"),
        ({"clients__0__drift": "tilt"}, "expected one of none, tilted, dimmed, blurred; did you"),
        (
            {"clients__0__drift_strength": -1},
            "clients[0].drift_strength is -1.0, expected 0 to 100",
        ),
        # Defences.
        ({"server__defence": "gradient"}, "is 'gradient', expected one of none, rounding"),
        ({"server": {"defence": 5, "defence_config": {}}}, "server.defence is 5, expected a str"),
        ({"server": mad(epsilon=3)}, "server.defence_config epsilon is 3.0, expected 0 to 2"),
        ({"server": mad(tau=0.5)}, "defence_config.tau is not a known key, known here: epsilon"),
        ({"server": mad(epsilon="1")}, "defence_config.epsilon is '1', expected a number"),
        ({"server": mad(epsilom=1)}, "is not a known key; did you mean 'epsilon'?"),
        ({"server": {**mad(), "defence_config": 1}}, "defence_config is 1, expected a table"),
        (
            {"server__defence_config": {"budget": 0.5}},
            "defence_config.budget is called epsilon now",
        ),
        ({"server__defence_config": {"epsilon": 0.5}}, "there is no defence; expected no settings"),
        ({"sweep": {"seed": [1]}}, "sweep is not a known key"),
    ],
)
def test_one_mistake_is_named(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse(broken(**changes))
    assert len(caught.value.mistakes) == 1, caught.value
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_mistakes_are_named_at_once() -> None:
    raw = broken(
        seed="one",
        server__policies=["rates"],
        clients__0__images=0,
        clients__1__attack="copykat",
        clients__1__colour="red",
    )
    with pytest.raises(ScenarioError) as caught:
        parse(raw, source="bad.toml")
    text = str(caught.value)
    assert text.startswith("scenario bad.toml has 5 mistakes:\n  seed is 'one'")
    for part in ("policies[0] is 'rates'", "images is 0", "'copycat'?", "colour is not"):
        assert part in text


def test_an_attack_is_given_what_it_needs_and_no_more() -> None:
    both = parse(broken(clients__1__attack="inoutdist", clients__1__inside="digits")).clients[1]
    assert isinstance(both, Attacker)
    assert (both.pool, both.inside) == ("npz:pool.npz", "digits")
    free = broken(
        clients__1__attack="dfme",
        clients__1__pool=None,
        clients__1__pool_size=None,
        clients__1__config=None,
    )
    made_up = parse(free).clients[1]
    assert isinstance(made_up, Attacker)
    assert (made_up.pool, made_up.pool_size) == ("", 0)
    with pytest.raises(ScenarioError, match=r"pool is of no use to the attack dfme"):
        parse({**free, "clients": [{**free["clients"][1], "pool": "photos"}]})


def test_what_was_read_passes_the_check_of_what_is_made_by_hand() -> None:
    free = {"name": "eve", "kind": "attack", "attack": "dfme", "network": "lenet"}
    mixed = {**GOOD["clients"][1], "name": "mix", "attack": "inoutdist", "inside": "digits"}
    ann = {**GOOD["clients"][0], "processes": 3, "arrival_rate": 1.0, "core": 0}
    server = {"core": -1, "defence": "hard_label", "virtual": True}
    del mixed["config"]
    check(parse({**GOOD, "server": server, "clients": [ann, {**free, "accounts": 2}, mixed]}))


def test_virtual_servers_take_virtual_clients() -> None:
    virtual = parse(broken(server__virtual=True))
    assert {client.solver for client in virtual.clients} == {"virtual"}
    with pytest.raises(ScenarioError, match=r"needs server\.virtual = false"):
        parse(broken(server__virtual=True, clients__0__solver="native"))


BASE = """
name = "base"
seed = 1
[victim]
dataset = "digits"
network = "lenet"
[server]
t_max = 2
policies = ["none", "rate"]
[[clients]]
name = "ann"
kind = "honest"
images = 10
[[clients]]
name = "bob"
kind = "attack"
attack = "knockoff"
pool = "photos"
pool_size = 50
network = "lenet"
config = { budget = 40, rounds = 2 }
"""


def test_a_scenario_extends_another(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(BASE)
    (tmp_path / "more").mkdir()
    over = tmp_path / "more" / "over.toml"
    over.write_text(
        'extends = "../base.toml"\nname = "over"\n[server]\npolicies = ["rate"]\n'
        '[[clients]]\nname = "bob"\nconfig.budget = 80\n'
        '[[clients]]\nname = "eve"\nkind = "honest"\nimages = 5\n'
    )
    scenario, given = load(str(over))
    assert (scenario.name, scenario.seed) == ("over", 1)
    assert (scenario.server.t_max, scenario.server.policies) == (2.0, ("rate",))
    assert [c.name for c in scenario.clients] == ["ann", "bob", "eve"]
    bob = scenario.clients[1]
    assert isinstance(bob, Attacker)
    assert bob.config == {"budget": 80, "rounds": 2}
    assert parse(given) == dataclasses.replace(scenario, source="scenario")  # whole, for the record
    over.write_text('extends = "smoke"\nseed = 5\n')
    assert load(str(over))[0].resolved() == {
        **load("smoke")[0].resolved(),
        "seed": 5,
        "source": str(over),
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("extends = 3", "over.toml: extends is 3, expected a file or the name of one"),
        ('extends = "smok"', "extends 'smok': is neither a file nor .* did you mean 'smoke'"),
        ('extends = "none.toml"', "extends none.toml: cannot be read: No such file"),
        ('extends = "over.toml"', "extends over.toml: extends itself"),
        ('extends = "smoke"\nsed = 2', "sed is not a known key; did you mean 'seed'"),
        ('extends = "smoke"\nextnds = "demo"', "extnds is not a known key"),
        ('extends = "smoke"\n[[clients]]\nname = "knockof"', r"clients\[2\].kind is missing"),
        ("name = \n", "is not valid TOML: .*line 1"),
        (b"name = '\xff'", "is not UTF-8 text"),
        ("a = " + "[" * 50_000, "is nested too deeply"),
        ("a = " + "[" * 40 + "]" * 40, "is nested too deeply"),
        (".".join("a" * 500) + " = 1", "is nested too deeply"),
        ("seed = " + "9" * 5_000, "a whole number that is too long"),
        ("seed = 0x" + "f" * 5_000, "a whole number that is too long"),
        ("limit = inf", "holds the number inf"),
        ("limit = 1e999", "holds the number inf"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_a_line(
    tmp_path: Path, text: str | bytes, complaint: str
) -> None:
    over = tmp_path / "over.toml"
    over.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ScenarioError, match=complaint) as caught:
        sweep.load(str(over))
    assert len(caught.value.mistakes) == 1
    assert "over.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"'demmo': is neither .* did you mean 'demo'\?"):
        load("demmo")
    with pytest.raises(ScenarioError, match=r"cannot be read: No such file"):
        load(str(tmp_path / "none.toml"))


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "marked.toml"
    file.write_bytes(b"\xef\xbb\xbf# Is it read?\nextends = 'smoke'\n")
    assert sweep.load(str(file))[0].scenario.name == "smoke"
    assert scenario.question(str(file)) == "Is it read?"


def test_long_values_and_many_mistakes_are_told_shortly() -> None:
    with pytest.raises(ScenarioError) as caught:
        parse({**broken(name="x" * 10_000), **{str(n) + "y" * 9_000: 1 for n in range(200)}})
    assert len(str(caught.value)) < 20_000
    assert "and 151 more" in str(caught.value)


@settings_of(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(data=st.data())
def test_a_mutated_scenario_is_read_or_refused(data: st.DataObject) -> None:
    with contextlib.suppress(ScenarioError):
        sweep.cells(mutated(GOOD | {"server": SERVER, "sweep": {"seed": [1, 2]}}, data))
