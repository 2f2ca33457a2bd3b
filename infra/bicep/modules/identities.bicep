// Who acts: scoring services, flow runs, workers and the servers. What each may do stands in roles.bicep.
param name string
param location string
param tags object

resource scoring 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${name}-scoring'
  location: location
  tags: tags
}
resource flows 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${name}-flows'
  location: location
  tags: tags
}
resource worker 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${name}-worker'
  location: location
  tags: tags
}
resource server 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${name}-server'
  location: location
  tags: tags
}

output ids object = { scoring: scoring.id, flows: flows.id, worker: worker.id, server: server.id }
output names object = { scoring: scoring.name, flows: flows.name }
output clients object = {
  scoring: scoring.properties.clientId
  flows: flows.properties.clientId
  worker: worker.properties.clientId
  server: server.properties.clientId
}
output principals object = {
  scoring: scoring.properties.principalId
  flows: flows.properties.principalId
  worker: worker.properties.principalId
  server: server.properties.principalId
}
