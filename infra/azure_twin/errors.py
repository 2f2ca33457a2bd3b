"""The errors that the twin answers, each as Azure documents or shows it, with the source."""

from typing import Any

import msgspec

LEARN = "https://learn.microsoft.com/en-us/azure"
SETUP_ACI = "https://learn.microsoft.com/en-us/troubleshoot/azure/azure-container-instances/configuration-setup"
ARM_ERRORS = f"{LEARN}/azure-resource-manager/troubleshooting/common-deployment-errors"
SOFT_DELETE = f"{LEARN}/key-vault/general/soft-delete-overview"
RBAC = f"{LEARN}/role-based-access-control/troubleshooting"


class Documented(msgspec.Struct, frozen=True):
    """An error as Azure answers it; the message has placeholders."""

    status: int
    code: str
    message: str
    source: str
    headers: dict[str, str] = {}
    inner: str = ""
    """Code of an inner error."""


class AzureError(Exception):
    """An answer that is an error; ``code`` and message are Azure's."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        headers: dict[str, str] | None = None,
        inner: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}
        self.details: list[dict[str, Any]] = []
        self.inner = inner

    @property
    def body(self) -> dict[str, Any]:
        """Resource Manager's form of an error."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        inner = {"innererror": {"code": self.inner}} if self.inner else {}
        return {"error": error | inner | ({"details": self.details} if self.details else {})}


def documented(name: str, /, **values: object) -> AzureError:
    """Make the error of a name in ``DOCUMENTED``."""
    known = DOCUMENTED[name]
    return AzureError(known.status, known.code, known.message.format(**values), dict(known.headers), inner=known.inner)


DOCUMENTED: dict[str, Documented] = {
    "throttled": Documented(
        429,
        "TooManyRequests",
        "The request is being throttled as the limit has been reached for operation type - {operation}. "
        "For more information, see - https://aka.ms/srpthrottlinglimits",
        f"{LEARN}/azure-resource-manager/management/request-limits-and-throttling",
        {"Retry-After": "1"},
    ),
    "unavailable": Documented(
        503,
        "ServerTimeout",
        "The request timed out. Diagnostic information: timestamp '{time}', subscription id '{subscription}'.",
        ARM_ERRORS,
    ),
    "no capacity": Documented(
        409,
        "ServiceUnavailable",
        "The requested resource is not available in the location '{location}' at this moment. "
        "Please retry with a different resource request or in another location. Resource requested: '{cpu:g}' CPU "
        "'{memory:g}' GB memory '{os}' OS",
        f"{SETUP_ACI}/service-unavailable-requested-resource-is-not-available",
    ),
    "quota": Documented(
        409,
        "ContainerGroupQuotaReached",
        "Resource type 'Microsoft.ContainerInstance/containerGroups' container group quota '{quota}' exceeded in "
        "region '{location}'. Limit: '{limit}', Usage: '{usage}' Requested: '{requested}'.",
        f"{SETUP_ACI}/spot-container-group-quota-reached-error",
    ),
    "image pull": Documented(
        400,
        "InaccessibleImage",
        "The image '{image}' in container group '{group}' is not accessible. Please check the image and registry "
        "credential.",
        f"{SETUP_ACI}/inaccessible-image",
    ),
    "transitioning": Documented(
        409,
        "ContainerGroupTransitioning",
        "The container group '{group}' is still transitioning, please retry later.",
        f"{SETUP_ACI}/container-group-transitioning-state",
    ),
    "immutable": Documented(
        400,
        "InvalidContainerGroupUpdate",
        "The updates on container group '{group}' are invalid. If you are going to update the os type, restart "
        "policy, network profile, CPU, memory or GPU resources for a container group, you must delete it first and "
        "then create a new one.",
        f"{LEARN}/container-instances/container-instances-update",
    ),
    "dns label": Documented(
        409,
        "DnsNameLabelNotAvailable",
        "The DNS name label '{label}' in region '{location}' is not available.",
        f"{LEARN}/container-instances/container-instances-container-group-automatic-ssl",
    ),
    "resources missing": Documented(
        400,
        "ResourceRequestsNotSpecified",
        "The resource requests is not specified for container '{container}' in container group '{group}'. Both memory "
        "and CPU requests are required.",
        f"{LEARN}/container-instances/container-instances-quickstart",
    ),
    "delete fails": Documented(
        500,
        "InternalServerError",
        "Encountered internal server error. Diagnostic information: timestamp '{time}', subscription id "
        "'{subscription}'.",
        ARM_ERRORS,
    ),
    "no token": Documented(
        401,
        "AuthenticationFailed",
        "Authentication failed. The 'Authorization' header is missing.",
        "https://learn.microsoft.com/en-us/rest/api/azure/",
    ),
    "invalid token": Documented(
        401,
        "InvalidAuthenticationToken",
        "The access token is invalid: {reason}.",
        "https://learn.microsoft.com/en-us/rest/api/azure/",
    ),
    "expired token": Documented(
        401,
        "ExpiredAuthenticationToken",
        "The access token expiry UTC time '{expiry}' is earlier than current UTC time '{time}'.",
        "https://learn.microsoft.com/en-us/rest/api/azure/",
    ),
    "claims challenge": Documented(
        401,
        "InvalidAuthenticationToken",
        "Continuous access evaluation resulted in challenge with result: InteractionRequired and code: "
        "TokenIssuedBeforeRevocationTimestamp",
        "https://learn.microsoft.com/en-us/entra/identity-platform/claims-challenge",
    ),
    "forbidden": Documented(
        403,
        "AuthorizationFailed",
        "The client '{client}' with object id '{object}' does not have authorization to perform action '{action}' "
        "over scope '{scope}' or the scope is invalid. If access was recently granted, please refresh your "
        "credentials.",
        ARM_ERRORS,
    ),
    "linked forbidden": Documented(
        403,
        "LinkedAuthorizationFailed",
        "The client '{client}' with object id '{object}' has permission to perform action '{action}' on scope "
        "'{scope}'; however, it does not have permission to perform action '{linked_action}' on the linked scope(s) "
        "'{linked}' or the linked scope(s) are invalid.",
        ARM_ERRORS,
    ),
    "template forbidden": Documented(
        400,
        "InvalidTemplateDeployment",
        "The template deployment failed with error: 'Authorization failed for template resource '{name}' of type "
        "'{type}'. The client '{client}' with object id '{object}' does not have permission to perform action "
        "'{action}' at scope '{scope}'.'.",
        ARM_ERRORS,
    ),
    "vault forbidden": Documented(
        403,
        "Forbidden",
        "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or role "
        "definitions were changed recently, please observe propagation time.\r\nCaller: appid={client};oid={object};"
        "iss={issuer}\r\nAction: '{action}'\r\nResource: '{resource}'\r\nAssignment: (not found)\r\n"
        "DenyAssignmentId: null\r\nDecisionReason: null\r\nVault: {vault};location={location}\r\n",
        f"{LEARN}/key-vault/general/rbac-guide",
        inner="ForbiddenByRbac",
    ),
    "vault name taken": Documented(
        409,
        "ConflictError",
        "A vault with the same name already exists in deleted state. You need to either recover or purge existing key "
        "vault. Follow this link https://go.microsoft.com/fwlink/?linkid=2149745 for more information on soft delete.",
        SOFT_DELETE,
    ),
    "vault protected": Documented(
        405, "MethodNotAllowed", "Operation 'DeletedVaultPurge' is not allowed.", SOFT_DELETE
    ),
    "no deleted vault": Documented(
        404,
        "DeletedVaultNotFound",
        "The specified deleted vault '{vault}' does not exist.",
        "https://learn.microsoft.com/en-us/rest/api/keyvault/keyvault/vaults/get-deleted",
    ),
    "assignment exists": Documented(409, "RoleAssignmentExists", "The role assignment already exists.", RBAC),
    "assignment changes": Documented(
        400,
        "RoleAssignmentUpdateNotPermitted",
        "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.",
        RBAC,
    ),
    "no role": Documented(
        400, "RoleDefinitionDoesNotExist", "The specified role definition with ID '{role}' does not exist.", RBAC
    ),
    "no group": Documented(
        404,
        "ResourceGroupNotFound",
        "Resource group '{group}' could not be found.",
        ARM_ERRORS,
    ),
    "not found": Documented(
        404,
        "ResourceNotFound",
        "The Resource '{resource}' under resource group '{group}' was not found. For more details please go to "
        "https://aka.ms/ARMResourceNotFoundFix",
        ARM_ERRORS,
    ),
    "no api version": Documented(
        400,
        "MissingApiVersionParameter",
        "The api-version query parameter (?api-version=) is required for all requests.",
        ARM_ERRORS,
    ),
    "api version": Documented(
        400,
        "NoRegisteredProviderFound",
        "No registered resource provider found for location '{location}' and API version '{version}' for type "
        "'{type}'.",
        ARM_ERRORS,
    ),
    "template": Documented(
        400,
        "InvalidTemplate",
        "Deployment template validation failed: '{reason}'.",
        ARM_ERRORS,
    ),
    "app secret": Documented(
        400,
        "InvalidParameterValueInContainerTemplate",
        "The following field(s) are either invalid or missing. Field 'configuration.secrets' is invalid with details: "
        '\'Invalid value: "{secret}": Unable to get value using Managed identity {identity} for secret {secret}. '
        "Error: unable to fetch secret '{secret}' using Managed identity '{identity}'';.",
        f"{LEARN}/container-apps/manage-secrets",
    ),
    "app image": Documented(
        400,
        "InvalidParameterValueInContainerTemplate",
        "The following field(s) are either invalid or missing. Field 'template.containers.{container}.image' is "
        'invalid with details: \'Invalid value: "{image}": GET https:: UNAUTHORIZED: authentication required, visit '
        "https://aka.ms/acr/authorization for more information.';.",
        f"{LEARN}/container-apps/managed-identity-image-pull",
    ),
    "deployment failed": Documented(
        200,
        "DeploymentFailed",
        "At least one resource deployment operation failed. Please list deployment operations for details. Please "
        "see https://aka.ms/arm-deployment-operations for usage details.",
        ARM_ERRORS,
    ),
}
