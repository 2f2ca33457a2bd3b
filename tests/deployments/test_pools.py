"""The work pools of the local profile."""

from pathlib import Path

import pytest

from deployments import pools
from mlops.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["training", "operations"])
def test_local_pool_runs_flows_in_the_checkout_with_the_workers_python(name: str, tmp_path: Path) -> None:
    from prefect.workers.process import ProcessWorker

    pool = pools.read(ROOT / "infra/work_pools/local" / f"{name}.json", Settings(home=tmp_path))
    variables = pool.base_job_template["variables"]["properties"]

    assert (pool.name, pool.type) == (name, "process")
    assert variables["command"]["default"] == "python -m prefect.engine"
    assert variables["working_dir"]["default"] == str(tmp_path)
    expected = ProcessWorker.get_default_base_job_template()
    assert pool.base_job_template["job_configuration"] == expected["job_configuration"]
    assert variables.keys() == expected["variables"]["properties"].keys()


@pytest.mark.parametrize("text", ["{", "[]", '{"type": "process"}', '{"type": "process", "base_job_template": {}}'])
def test_invalid_pool_names_the_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text(text)

    with pytest.raises(pools.PoolError, match=r"training\.json is no work pool"):
        pools.read(tmp_path / "training.json", Settings(home=tmp_path))


def test_profile_without_pools_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(pools.PoolError, match="no work pools in"):
        pools.ensure_pools(Settings(home=tmp_path))
