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
@description('user:password of the Prefect API; workers, flows and people use it.')
@secure()
param prefectKey string
@secure()
@minLength(16)
param databasePassword string
@description('Tag of the images mlops-flows and mlops-worker in the registry; empty before they are built: no servers.')
param imageTag string = ''
param databaseSku object
param databaseGeoBackup string
param storageSku string
param registrySku string
param servers int
param monthlyBudget int
param alertEmails array
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
  params: { name: 'cr${flat}', location: location, tags: tags, sku: registrySku }
}
module vault 'modules/vault.bicep' = {
  name: 'vault'
  params: { name: 'kv${flat}', location: location, tags: tags, keep: environment == 'prod' }
}
module workspace 'modules/workspace.bicep' = {
  name: 'workspace'
  params: {
    name: base
    storageName: 'ml${flat}'
    location: location
    tags: tags
    registryId: registry.outputs.id
    vaultId: vault.outputs.id
    insightsId: logs.outputs.insightsId
  }
}
module postgres 'modules/postgres.bicep' = {
  name: 'postgres'
  params: {
    name: '${base}-${take(suffix, 8)}'
    location: location
    tags: tags
    sku: databaseSku
    geoBackup: databaseGeoBackup
    password: databasePassword
  }
}
module secrets 'modules/secrets.bicep' = {
  name: 'secrets'
  params: {
    vaultName: vault.outputs.name
    prefectKey: prefectKey
    databaseHost: postgres.outputs.host
    databasePassword: databasePassword
  }
}
module roles 'modules/roles.bicep' = {
  name: 'roles'
  params: {
    principals: identities.outputs.principals
    identityNames: identities.outputs.names
    storageName: store.outputs.name
    registryName: registry.outputs.name
    vaultName: vault.outputs.name
    workspaceName: workspace.outputs.name
  }
}
module apps 'modules/apps.bicep' = {
  name: 'apps'
  params: { name: base, location: location, tags: tags, workspaceName: logs.outputs.workspaceName }
}
module prefect 'modules/prefect.bicep' = if (imageTag != '') {
  name: 'prefect'
  params: {
    name: base
    location: location
    tags: tags
    appsId: apps.outputs.id
    domain: apps.outputs.domain
    identityId: identities.outputs.ids.server
    clientId: identities.outputs.clients.server
    workerIdentityId: identities.outputs.ids.worker
    workerClientId: identities.outputs.clients.worker
    registry: registry.outputs.server
    vaultUri: vault.outputs.uri
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

output storageAccount string = store.outputs.name
output registry string = registry.outputs.server
output keyVault string = vault.outputs.uri
output workspace string = workspace.outputs.name
output prefectUrl string = 'https://${base}-prefect.${apps.outputs.domain}/api'
output scoringIdentity string = identities.outputs.ids.scoring
output flowsIdentity string = identities.outputs.ids.flows
output scoringClientId string = identities.outputs.clients.scoring
output workerClientId string = identities.outputs.clients.worker
output flowsClientId string = identities.outputs.clients.flows
