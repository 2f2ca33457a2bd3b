// Keys of scoring services, the servers' sign-in and the databases' credentials.
param name string
param location string
param tags object
@description('Whether nobody, not even an owner, may purge a deleted vault: its name is taken as long as it is kept.')
param keep bool

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' = {
  name: take(name, 24)
  location: location
  tags: tags
  properties: {
    tenantId: subscription().tenantId
    sku: { family: 'A', name: 'standard' }
    enableRbacAuthorization: true
    enablePurgeProtection: keep ? true : null
    softDeleteRetentionInDays: keep ? 14 : 7
  }
}

output id string = vault.id
output name string = vault.name
output uri string = vault.properties.vaultUri
