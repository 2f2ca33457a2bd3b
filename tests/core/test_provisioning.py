"""The variable library: names of the hands-on, of Azure DevOps, and wrong values."""

import pytest

from mlops.core.provisioning import VariableError, plan

PLACE = {"ml.region": "westeurope", "ml.resourceGroup": "rg-iris", "ml.workspace": "mlw-iris"}


def test_the_defaults_are_those_of_the_library() -> None:
    found = plan(PLACE, {}, {})
    assert (found.region, found.resource_group, found.workspace) == ("westeurope", "rg-iris", "mlw-iris")
    compute = found.compute
    assert (compute.name, compute.size) == ("iriscompute", "STANDARD_DS2_V2")
    assert (compute.min_nodes, compute.max_nodes, compute.idle_seconds) == (0, 1, 300)


def test_the_environment_wins_over_the_file_and_the_file_over_the_settings() -> None:
    environment = {"ML_COMPUTENAME": "fromenv", "ML_COMPUTEIDLESECS": "60"}
    found = plan({**PLACE, "ml.computeName": "fromfile"}, environment, {"ml.region": "northeurope"})
    assert (found.compute.name, found.compute.idle_seconds, found.region) == ("fromenv", 60, "westeurope")
    assert plan({}, {}, PLACE).workspace == "mlw-iris"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("ml.computeIdleSecs", "soon", r"ml.computeIdleSecs \(ML_COMPUTEIDLESECS\) is 'soon' and must be a number"),
        ("ml.computeMinNodes", "2", "ml.computeMinNodes is 2, more than ml.computeMaxNodes, which is 1"),
        ("ml.computeName", "iris compute", "must be 2 to 16 letters, digits and dashes"),
        ("ml.computeVMSize", "DS2", "must be a size as STANDARD_DS2_V2"),
        ("ml.region", "West Europe", "must be a region as Azure writes it: westeurope"),
        ("ml.workspace", "", "ml.workspace is not set: .* or as ML_WORKSPACE in the environment"),
        ("ml.computeNodes", "1", "variable 'ml.computeNodes' is unknown; there are: ml.computeIdleSecs"),
    ],
)
def test_what_cannot_be_used_is_named_with_the_rule(name: str, value: str, text: str) -> None:
    with pytest.raises(VariableError, match=text):
        plan({**PLACE, name: value}, {}, {})


def test_names_are_unique_by_subscription_and_fit_storage_accounts() -> None:
    found = plan(PLACE, {}, {})
    name = found.unique("st", "one")
    assert (name[:9], name.isalnum(), name.islower(), len(name) <= 24) == ("stmlwiris", True, True, True)
    assert name != found.unique("st", "two")
