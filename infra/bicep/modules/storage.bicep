// The object store. No keys: every reader and writer signs in as itself.
param name string
param location string
param tags object
param sku string

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: take(name, 24)
  location: location
  tags: tags
  sku: { name: sku }
  kind: 'StorageV2'
  properties: {
    allowBlobPublicAccess: false
    allowSharedKeyAccess: false
    isHnsEnabled: false // Folders would be listed as objects.
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' = {
  parent: account
  name: 'default'
  properties: {
    isVersioningEnabled: true
    deleteRetentionPolicy: { enabled: true, days: 30 } // Of versions, too, once the policy below has deleted them.
    containerDeleteRetentionPolicy: { enabled: true, days: 14 }
  }
}

// Versioning keeps what was overwritten or deleted until somebody removes it.
resource expiry 'Microsoft.Storage/storageAccounts/managementPolicies@2025-06-01' = {
  parent: account
  name: 'default'
  properties: {
    policy: {
      rules: [
        {
          name: 'earlier-versions' // Counted from when each was written, and not from when the next one was.
          type: 'Lifecycle'
          definition: {
            filters: { blobTypes: ['blockBlob'] }
            actions: { version: { delete: { daysAfterCreationGreaterThan: 30 } } }
          }
        }
        {
          name: 'results-of-tasks' // A run that is suspended for longer repeats its steps.
          type: 'Lifecycle'
          definition: {
            filters: { blobTypes: ['blockBlob'], prefixMatch: ['mlops/.prefect/'] }
            actions: { baseBlob: { delete: { daysAfterModificationGreaterThan: 90 } } }
          }
        }
      ]
    }
  }
  dependsOn: [blobs]
}

resource containers 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = [for each in ['mlops', 'mlflow']: {
  parent: blobs
  name: each
  properties: { publicAccess: 'None' }
}]

output name string = account.name
