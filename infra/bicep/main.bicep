// One environment of the system in one resource group:
//   az deployment group create --resource-group rg-mlops-dev --parameters infra/bicep/parameters/dev.bicepparam
targetScope = 'resourceGroup'

@description('Begins every name; lower-case letters and digits.')
@minLength(3)
@maxLength(9)
param name string = 'mlops'
@allowed(['dev', 'uat', 'prod'])
param environment string
param location string = resourceGroup().location
@description('user:password of the servers: Prefect, MLflow, reports, Evidently; workers, flow runs and people use it.')
@secure()
@minLength(20)
param serversSignIn string
@secure()
@minLength(16)
param databasePassword string
@description('Tag of the images mlops-flows and mlops-worker in the registry; empty before they are built: no servers.')
param imageTag string = ''
param databaseSku object
param databaseGeoBackup string
param databaseStorageGB int = 32 // It can be made larger later, and never smaller.
param storageSku string
param registrySku string
param registryAdmin bool = false
param servers int
param monthlyBudget int
param alertEmails array
@description('Each deployment starts the apps again, which read their secrets at once then.')
param deployed string = utcNow()
@description('First of this month makes the budget; empty leaves one alone: Azure changes the start of none.')
param budgetStart string = ''
@description('Where the workers run: apps, or none when a cluster has them (infra/kubernetes/worker.yaml).')
@allowed(['apps', 'none'])
param workers string = 'apps'

var suffix = uniqueString(resourceGroup().id)
var base = '${name}-${environment}'
var flat = '${name}${environment}${take(suffix, 8)}'
var tags = { system: name, environment: environment }

module logs 'modules/logs.bicep' = {
  name: 'logs'
  params: { name: base, location: location, tags: tags }
}
module identities 'modules/identities.bicep' = {
  name: 'identities'
  params: { name: base, location: location, tags: tags }
}
module store 'modules/storage.bicep' = {
  name: 'store'
  params: { name: 'st${flat}', location: location, tags: tags, sku: storageSku }
}
module registry 'modules/registry.bicep' = {
  name: 'registry'
  params: { name: 'cr${flat}', location: location, tags: tags, sku: registrySku, admin: registryAdmin }
}
module vault 'modules/vault.bicep' = {
  name: 'vault'
  params: { name: 'kv${flat}', databasesName: 'kd${flat}', location: location, tags: tags, keep: environment == 'prod' }
}
module workspace 'modules/workspace.bicep' = {
  name: 'workspace'
  params: {
    name: base, storageName: 'ml${flat}', location: location, tags: tags
    registryId: registry.outputs.id, vaultId: vault.outputs.id, insightsId: logs.outputs.insightsId
  }
}
module postgres 'modules/postgres.bicep' = {
  name: 'postgres'
  params: {
    name: '${base}-${take(suffix, 8)}', location: location, tags: tags
    sku: databaseSku, geoBackup: databaseGeoBackup, storageGB: databaseStorageGB, password: databasePassword
  }
}
module secrets 'modules/secrets.bicep' = {
  name: 'secrets'
  params: {
    vaultName: vault.outputs.name, databasesVaultName: vault.outputs.databasesName, serversSignIn: serversSignIn
    databaseHost: postgres.outputs.host, databasePassword: databasePassword
  }
}
module roles 'modules/roles.bicep' = {
  name: 'roles'
  params: {
    principals: identities.outputs.principals, identityNames: identities.outputs.names
    storageName: store.outputs.name, registryName: registry.outputs.name
    vaultName: vault.outputs.name, databasesVaultName: vault.outputs.databasesName, workspaceName: workspace.outputs.name
  }
}
module apps 'modules/apps.bicep' = {
  name: 'apps'
  params: { name: base, location: location, tags: tags, workspaceName: logs.outputs.workspaceName }
}
module prefect 'modules/prefect.bicep' = if (imageTag != '') {
  name: 'prefect'
  params: {
    name: base, location: location, tags: tags, deployed: deployed
    appsId: apps.outputs.id, domain: apps.outputs.domain
    ids: identities.outputs.ids, clients: identities.outputs.clients
    registry: registry.outputs.server
    vaultUri: vault.outputs.uri, databasesVaultUri: vault.outputs.databasesUri
    storageName: store.outputs.name
    imageTag: imageTag
    servers: servers
    workers: workers
  }
  dependsOn: [roles, secrets]
}
module budget 'modules/budget.bicep' = if (budgetStart != '') {
  name: 'budget'
  params: { name: base, amount: monthlyBudget, emails: alertEmails, start: budgetStart }
}

// As mlops.toml has them; docs/azure.md says how they get there.
output settings object = {
  profile: 'azure'
  azure_subscription: subscription().subscriptionId
  azure_tenant: subscription().tenantId
  azure_resource_group: resourceGroup().name
  azure_region: location
  azure_storage_account: store.outputs.name
  azure_storage_container: 'mlops'
  azure_registry: registry.outputs.server
  azure_flow_image: 'mlops-flows:${imageTag}'
  azure_scoring_image: 'mlops-scoring:${imageTag}'
  azure_caddy_image: '${registry.outputs.server}/caddy:2.10-alpine'
  azure_identity: identities.outputs.ids.scoring
  azure_flow_identity: identities.outputs.ids.flows
  azure_key_vault: vault.outputs.uri
  azure_servers_secret: 'servers-sign-in'
  azure_workspace: workspace.outputs.name
  azure_dns_prefix: '${name}${environment}${take(suffix, 4)}'
  prefect_url: 'https://${base}-prefect.${apps.outputs.domain}/api'
  mlflow_url: 'https://${base}-mlflow.${apps.outputs.domain}'
  reports_url: 'https://${base}-reports.${apps.outputs.domain}'
  evidently_url: 'https://${base}-evidently.${apps.outputs.domain}'
}
output clientIds object = identities.outputs.clients // For a cluster's service accounts (infra/kubernetes).
