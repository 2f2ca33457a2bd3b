// Two vaults: one with the keys of scoring services and the servers' sign-in, which flow runs read and write, and one
// with the databases' credentials, which the servers alone read.
param name string
param databasesName string
param location string
param tags object
@description('Whether nobody, not even an owner, may purge a deleted vault: its name is taken as long as it is kept.')
param keep bool

resource vaults 'Microsoft.KeyVault/vaults@2024-11-01' = [for each in [name, databasesName]: {
  name: take(each, 24)
  location: location
  tags: tags
  properties: {
    tenantId: subscription().tenantId
    sku: { family: 'A', name: 'standard' }
    enableRbacAuthorization: true
    enablePurgeProtection: keep ? true : null
    softDeleteRetentionInDays: keep ? 14 : 7
  }
}]

output id string = vaults[0].id
output name string = vaults[0].name
output uri string = vaults[0].properties.vaultUri
output databasesName string = vaults[1].name
output databasesUri string = vaults[1].properties.vaultUri
