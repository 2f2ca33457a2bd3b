// Azure Machine Learning, with a storage account of its own: SDK v1 signs in to that by key.
param name string
param storageName string
param location string
param tags object
param registryId string
param vaultId string
param insightsId string

resource storage 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: take(storageName, 24)
  location: location
  tags: tags
  sku: { name: 'Standard_LRS' }
  kind: 'StorageV2'
  properties: {
    allowBlobPublicAccess: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
  }
}

resource workspace 'Microsoft.MachineLearningServices/workspaces@2023-04-01' = {
  name: name
  location: location
  tags: tags
  identity: { type: 'SystemAssigned' }
  sku: { name: 'Basic', tier: 'Basic' }
  properties: {
    friendlyName: name
    storageAccount: storage.id
    keyVault: vaultId
    containerRegistry: registryId
    applicationInsights: insightsId
    hbiWorkspace: false
  }
}

output name string = workspace.name
