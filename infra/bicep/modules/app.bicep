// One container app: a server that is reached by HTTPS when it has a port, a worker when it has none.
param name string
param location string
param tags object
param appsId string
param identityId string
param registry string
param image string
param command array = []
param args array = []
param port int = 0
@description('When; a new value is a new revision, which reads the secrets now and not within half an hour.')
param deployed string
@description('Variables: {name, value} or {name, secretRef}.')
param variables array
@description('Secrets of the vault by their names here: {name, keyVaultUrl, identity}.')
param secrets array
param replicas int = 1
param cpu string = '0.5'
param memory string = '1Gi'

resource app 'Microsoft.App/containerApps@2025-01-01' = {
  name: name
  location: location
  tags: tags
  identity: { type: 'UserAssigned', userAssignedIdentities: { '${identityId}': {} } }
  properties: {
    environmentId: appsId
    configuration: {
      activeRevisionsMode: 'Single'
      ingress: port == 0 ? null : { external: true, targetPort: port, transport: 'auto', allowInsecure: false }
      registries: [{ server: registry, identity: identityId }]
      secrets: secrets
    }
    template: {
      containers: [{ name: 'main', image: image, command: command, args: args, env: concat(variables, [{ name: 'DEPLOYED', value: deployed }]), resources: { cpu: json(cpu), memory: memory } }]
      scale: { minReplicas: replicas, maxReplicas: replicas }
    }
  }
}

output host string = port == 0 ? '' : app.properties.configuration.ingress.fqdn
