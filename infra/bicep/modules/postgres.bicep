// PostgreSQL with the databases of Prefect and MLflow.
param name string
param location string
param tags object
param sku object
@allowed(['Enabled', 'Disabled'])
param geoBackup string
@description('It can be made larger, by another deployment, and never smaller.')
param storageGB int
@secure()
param password string

resource server 'Microsoft.DBforPostgreSQL/flexibleServers@2024-08-01' = {
  name: name
  location: location
  tags: tags
  sku: sku
  properties: {
    version: '16'
    administratorLogin: 'mlops'
    administratorLoginPassword: password
    // Without growth by itself: a disk cannot shrink, so that every later deployment with this size would be refused.
    storage: { storageSizeGB: storageGB, autoGrow: 'Disabled' }
    backup: { backupRetentionDays: 14, geoRedundantBackup: geoBackup }
  }
}

// One after another: the server takes one change at a time and refuses others as busy.
@batchSize(1)
resource databases 'Microsoft.DBforPostgreSQL/flexibleServers/databases@2024-08-01' = [for each in ['prefect', 'mlflow']: {
  parent: server
  name: each
  properties: { charset: 'UTF8' }
}]

// Prefect's indexes need pg_trgm.
resource extensions 'Microsoft.DBforPostgreSQL/flexibleServers/configurations@2024-08-01' = {
  parent: server
  name: 'azure.extensions'
  properties: { value: 'PG_TRGM', source: 'user-override' }
  dependsOn: [inside]
}

// The apps have no fixed addresses; 0.0.0.0 admits those inside Azure, which still need the password.
resource inside 'Microsoft.DBforPostgreSQL/flexibleServers/firewallRules@2024-08-01' = {
  parent: server
  name: 'azure'
  properties: { startIpAddress: '0.0.0.0', endIpAddress: '0.0.0.0' }
  dependsOn: [databases]
}

output host string = server.properties.fullyQualifiedDomainName
