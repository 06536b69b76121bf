"""A defence in a scenario: beside its policies, and refused where it cannot work."""

import pytest
import tyro

from experiments import commands
from experiments.scenario import ScenarioError, parse
from server.defences.gradient_redirection import Config as Redirection
from server.options import serving

GOOD = {
    "name": "good",
    "seed": 3,
    "victim": {"dataset": "digits", "network": "lenet"},
    "clients": [{"name": "ann", "kind": "honest", "images": 10}],
}


def test_a_scenario_takes_a_defence_beside_its_policies(tmp_path):
    server = {
        "policies": ["none", "rate"],
        "defence": "gradient_redirection",
        "defence_config": {"epsilon": 1, "keep_top": True},
    }
    good = parse({**GOOD, "server": server})
    assert good.server.defence == "gradient_redirection"
    prepare = commands.prepare(good, tmp_path)
    assert prepare[prepare.index("--defence") + 1] == "gradient_redirection"
    serve = commands.arm(good, "rate", tmp_path, tmp_path).server
    at = serve.index("--defence")
    assert serve[at:] == [
        "--defence",
        "gradient_redirection",
        "--defence.epsilon",
        "1",
        "--defence.keep-top",
    ]
    options = tyro.cli(serving(serve), args=serve[serve.index("serve") + 1 :])
    assert options.defence_config == Redirection(epsilon=1.0, keep_top=True)
    assert parse(GOOD).server.defence == "none"


@pytest.mark.parametrize(
    ("server", "why"),
    [
        ({"defence": "gradient"}, "server.defence is 'gradient', expected one of none, rounding"),
        ({"defence": 5}, "server.defence is 5, expected a string"),
        ({"defence": 5, "defence_config": {}}, "server.defence is 5, expected a string"),
        (
            {"defence": "mad", "defence_config": {"epsilon": 3}},
            "server.defence_config the L1 budget is 3.0, expected 0 to 2",
        ),
        (
            {"defence": "mad", "defence_config": {"tau": 0.5}},
            "server.defence_config.tau is not a known key, known here: epsilon",
        ),
        (
            {"defence_config": {"budget": 0.5}},
            "server.defence_config.budget is called epsilon now",
        ),
        (
            {"defence_config": {"epsilon": 0.5}},
            "server.defence_config is given, but there is no defence; expected no settings",
        ),
        (
            {"defence": "mad", "defence_config": {"epsilon": "1"}},
            "server.defence_config.epsilon is '1', expected a number",
        ),
        (
            {"defence": "mad", "defence_config": {"epsilom": 1}},
            "server.defence_config.epsilom is not a known key; did you mean 'epsilon'?",
        ),
        ({"defence": "mad", "defence_config": 1}, "server.defence_config is 1, expected a table"),
    ],
)
def test_a_scenario_whose_defence_cannot_work_is_refused(server, why):
    with pytest.raises(ScenarioError) as caught:
        parse({**GOOD, "server": server})
    assert len(caught.value.mistakes) == 1
    assert caught.value.mistakes[0].startswith(why)
