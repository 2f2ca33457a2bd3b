// Every role that the system's identities have, and no other; the table in docs/azure.md says what for.
@description('Principal ids of scoring, flows, worker and server.')
param principals object
@description('Names of the identities that containers run under: scoring, flows.')
param identityNames object
param storageName string
param registryName string
param vaultName string
param databasesVaultName string
param workspaceName string

var role = {
  acrPull: '7f951dda-4ed3-4680-a7ca-43fe172d538d'
  blobDataContributor: 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
  blobDataReader: '2a2b9908-6ea1-4ae2-8e65-a410df84e7d1'
  containerInstancesContributor: '5d977122-f97e-4b4d-a52f-6b43003ddb4d'
  keyVaultSecretsOfficer: 'b86a8fe4-44ce-4948-aee5-eccb2c155cd7'
  keyVaultSecretsUser: '4633458b-17de-408a-b874-0445c86b69e6'
  machineLearningDataScientist: 'f6c7c914-8db3-469d-8ca1-694a8f32e121'
  managedIdentityOperator: 'f1a07417-d97a-45cb-824c-7a7467783830'
  reader: 'acdd72a7-3385-48ef-bd42-f606fba81ae7'
}
// Scoring services are on the internet: what one of them could change must not be what flow runs load or believe
// (bundles, serving states, the ledger), so they write to the log of predictions and feedback alone. A star of StringLike
// stands for slashes, too: without the exclusions <model>/ledger/gate/predictions/date=x.json would be admitted.
var scoringWrites = loadTextContent('scoring-writes.txt')
// The rehearsal (infra/azure_twin/rehearsal) reads these lists, one assignment a line.
var onStore = [
  { who: 'scoring', role: role.blobDataContributor, container: 'mlops' }
  { who: 'flows', role: role.blobDataContributor, container: 'mlops' }
  { who: 'server', role: role.blobDataReader, container: 'mlops' }
  { who: 'server', role: role.blobDataContributor, container: 'mlflow' }
]
var onRegistry = [
  { who: 'scoring', role: role.acrPull }
  { who: 'flows', role: role.acrPull }
  { who: 'worker', role: role.acrPull }
  { who: 'server', role: role.acrPull }
]
var onVault = [
  { who: 'flows', role: role.keyVaultSecretsOfficer }
  { who: 'worker', role: role.keyVaultSecretsUser }
  { who: 'server', role: role.keyVaultSecretsUser }
]
var onDatabases = [
  { who: 'server', role: role.keyVaultSecretsUser }
]
var onWorkspace = [
  { who: 'flows', role: role.machineLearningDataScientist }
  { who: 'worker', role: role.machineLearningDataScientist }
]
var onGroup = [
  { who: 'flows', role: role.containerInstancesContributor }
  { who: 'flows', role: role.reader }
  { who: 'worker', role: role.containerInstancesContributor }
  { who: 'worker', role: role.reader }
]
var onIdentities = [
  { who: 'flows', role: role.managedIdentityOperator, identity: identityNames.scoring }
  { who: 'worker', role: role.managedIdentityOperator, identity: identityNames.flows }
]

resource containers 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' existing = [for each in onStore: { name: '${storageName}/default/${each.container}' }]
resource registry 'Microsoft.ContainerRegistry/registries@2025-04-01' existing = { name: registryName }
resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = { name: vaultName }
resource databases 'Microsoft.KeyVault/vaults@2024-11-01' existing = { name: databasesVaultName }
resource workspace 'Microsoft.MachineLearningServices/workspaces@2023-04-01' existing = { name: workspaceName }
resource identities 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = [for each in onIdentities: { name: each.identity }]

resource store 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (each, i) in onStore: {
  name: guid(containers[i].id, principals[each.who], each.role)
  scope: containers[i]
  properties: {
    principalId: principals[each.who]
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', each.role)
    condition: each.who == 'scoring' ? scoringWrites : null
    conditionVersion: each.who == 'scoring' ? '2.0' : null
  }
}]
resource pull 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for each in onRegistry: {
  name: guid(registry.id, principals[each.who], each.role)
  scope: registry
  properties: {
    principalId: principals[each.who]
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', each.role)
  }
}]
resource secrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for each in onVault: {
  name: guid(vault.id, principals[each.who], each.role)
  scope: vault
  properties: {
    principalId: principals[each.who]
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', each.role)
  }
}]
resource urls 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for each in onDatabases: {
  name: guid(databases.id, principals[each.who], each.role)
  scope: databases
  properties: {
    principalId: principals[each.who]
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', each.role)
  }
}]
resource jobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for each in onWorkspace: {
  name: guid(workspace.id, principals[each.who], each.role)
  scope: workspace
  properties: {
    principalId: principals[each.who]
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', each.role)
  }
}]
resource groups 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for each in onGroup: {
  name: guid(resourceGroup().id, principals[each.who], each.role)
  properties: {
    principalId: principals[each.who]
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', each.role)
  }
}]
resource assign 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (each, i) in onIdentities: {
  name: guid(identities[i].id, principals[each.who], each.role)
  scope: identities[i]
  properties: {
    principalId: principals[each.who]
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', each.role)
  }
}]
