"""A defence in a scenario: beside its policies, and refused where it cannot work."""

import pytest
import tyro

from experiments import commands
from experiments.scenario import ScenarioError, parse
from server.defences.options import Perturb

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
        "defence_config": {"budget": 1, "keep_top": True},
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
        "--budget",
        "1",
        "--keep-top",
        "True",
    ]
    from server.options import Serve

    options = tyro.cli(Serve, args=serve[serve.index("serve") + 1 :])
    assert options.perturb == Perturb(defence="gradient_redirection", budget=1.0, keep_top=True)
    assert parse(GOOD).server.defence == "none"


@pytest.mark.parametrize(
    ("server", "why"),
    [
        ({"defence": "gradient"}, "server.defence is 'gradient', expected one of none, rounding"),
        ({"defence": 5}, "server.defence is 5, expected a string"),
        ({"defence": 5, "defence_config": {}}, "server.defence is 5, expected a string"),
        (
            {"defence": "mad", "defence_config": {"budget": 3}},
            "server.defence_config does not fit: the L1 budget is 3, expected 0 to 2",
        ),
        (
            {"defence": "mad", "defence_config": {"tau": 0.5}},
            "server.defence_config does not fit: tau is 0.5, but defence mad has no such setting",
        ),
        (
            {"defence_config": {"budget": 0.5}},
            "server.defence_config does not fit: budget is 0.5, but defence none",
        ),
        (
            {"defence": "mad", "defence_config": {"budget": "1"}},
            "server.defence_config.budget is '1', expected float or int",
        ),
        (
            {"defence": "mad", "defence_config": {"bugdet": 1}},
            "server.defence_config.bugdet is not a known key, did you mean 'budget'",
        ),
        ({"defence": "mad", "defence_config": 1}, "server.defence_config is 1, expected a table"),
    ],
)
def test_a_scenario_whose_defence_cannot_work_is_refused(server, why):
    with pytest.raises(ScenarioError) as caught:
        parse({**GOOD, "server": server})
    assert len(caught.value.mistakes) == 1
    assert caught.value.mistakes[0].startswith(why)
