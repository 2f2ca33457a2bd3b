// Images of scoring services, flows and workers.
param name string
param location string
param tags object
param sku string
@description('Whether images can be pulled with its own user and password, as Azure Machine Learning may have to.')
param admin bool

resource registry 'Microsoft.ContainerRegistry/registries@2025-04-01' = {
  name: name
  location: location
  tags: tags
  sku: { name: sku }
  properties: {
    adminUserEnabled: admin
    anonymousPullEnabled: false
  }
}

output id string = registry.id
output name string = registry.name
output server string = registry.properties.loginServer
