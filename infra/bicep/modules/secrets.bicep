// What the servers are told in secret, written once here.
param vaultName string
param databasesVaultName string
param databaseHost string
@secure()
param serversSignIn string
@secure()
param databasePassword string

var account = 'mlops:${uriComponent(databasePassword)}@${databaseHost}:5432'

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: vaultName
}
resource databases 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: databasesVaultName
}
resource signIn 'Microsoft.KeyVault/vaults/secrets@2024-11-01' = {
  parent: vault
  name: 'servers-sign-in'
  properties: { value: serversSignIn }
}
resource prefect 'Microsoft.KeyVault/vaults/secrets@2024-11-01' = {
  parent: databases
  name: 'prefect-database-url'
  properties: { value: 'postgresql+asyncpg://${account}/prefect?ssl=require' }
}
resource mlflow 'Microsoft.KeyVault/vaults/secrets@2024-11-01' = {
  parent: databases
  name: 'mlflow-database-url'
  properties: { value: 'postgresql+psycopg2://${account}/mlflow?sslmode=require' }
}
