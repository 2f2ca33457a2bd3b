"""The variable library of the build pipeline: names, defaults, and what a wrong value is told."""

import hashlib
import re
from collections.abc import Mapping

import msgspec

from mlops.core.azure_ml import ClusterSpec

DEFAULTS = {
    "ml.computeIdleSecs": "300",
    "ml.computeMaxNodes": "1",
    "ml.computeMinNodes": "0",
    "ml.computeName": "iriscompute",
    "ml.computeVMSize": "STANDARD_DS2_V2",
}
RULES = {
    "ml.computeIdleSecs": (r"\d{1,6}", "a number of seconds"),
    "ml.computeMaxNodes": (r"\d{1,3}", "a number of nodes"),
    "ml.computeMinNodes": (r"\d{1,3}", "a number of nodes"),
    "ml.computeName": (r"[A-Za-z][A-Za-z0-9-]{0,14}[A-Za-z0-9]", "2 to 16 letters, digits and dashes"),
    "ml.computeVMSize": (r"[Ss][Tt][Aa][Nn][Dd][Aa][Rr][Dd]_\w+", "a size as STANDARD_DS2_V2"),
    "ml.region": (r"[a-z][a-z0-9]{2,30}", "a region as Azure writes it: westeurope"),
    "ml.resourceGroup": (r"[\w().-]{0,89}[\w()-]", "1 to 90 letters, digits and -_.(), no dot at the end"),
    "ml.workspace": (r"[A-Za-z0-9][\w-]{2,32}", "3 to 33 letters, digits, dashes and underscores"),
}


class VariableError(ValueError):
    """A variable is missing or cannot be used."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be provisioned."""

    region: str
    resource_group: str
    workspace: str
    compute: ClusterSpec

    def unique(self, prefix: str, subscription: str) -> str:
        """A name of 24 letters and digits at most that no other subscription or group has: these share one space."""
        digest = hashlib.sha256(f"{subscription}/{self.resource_group}/{self.workspace}".lower().encode()).hexdigest()
        readable = re.sub(r"[^a-z0-9]", "", self.workspace.lower())
        return f"{prefix}{readable[: 16 - len(prefix)]}{digest[:8]}"


def environment_name(variable: str) -> str:
    """The variable as Azure DevOps puts it into the environment: dots become underscores, letters large."""
    return variable.replace(".", "_").upper()


def plan(given: Mapping[str, str], environment: Mapping[str, str], settings: Mapping[str, str]) -> Plan:
    """Read the variables: the environment wins over the file, the file over the settings and the defaults.

    Raises:
        VariableError: one is missing, unknown or wrong; the message names it, both its spellings and the rule.
    """
    if unknown := sorted(name for name in given if name.startswith("ml.") and name not in RULES):
        raise VariableError(f"variable {unknown[0]!r} is unknown; there are: {', '.join(RULES)}")
    found = {name: _value(name, given, environment, settings) for name in RULES}
    low, high = int(found["ml.computeMinNodes"]), int(found["ml.computeMaxNodes"])
    if low > high:
        raise VariableError(f"ml.computeMinNodes is {low}, more than ml.computeMaxNodes, which is {high}")
    return Plan(
        region=found["ml.region"],
        resource_group=found["ml.resourceGroup"],
        workspace=found["ml.workspace"],
        compute=ClusterSpec(
            name=found["ml.computeName"],
            size=found["ml.computeVMSize"].upper(),
            min_nodes=low,
            max_nodes=high,
            idle_seconds=int(found["ml.computeIdleSecs"]),
        ),
    )


def _value(name: str, given: Mapping[str, str], environment: Mapping[str, str], settings: Mapping[str, str]) -> str:
    variable = environment_name(name)
    value = str(environment.get(variable) or given.get(name) or settings.get(name) or DEFAULTS.get(name, "")).strip()
    if not value:
        raise VariableError(f"{name} is not set: give it in the variables' file, or as {variable} in the environment")
    pattern, rule = RULES[name]
    if not re.fullmatch(pattern, value):
        raise VariableError(f"{name} ({variable}) is {value!r} and must be {rule}")
    return value
