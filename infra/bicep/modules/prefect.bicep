// The Prefect server, the MLflow server, and a worker for each pool.
param name string
param location string
param tags object
param appsId string
param domain string
param identityId string
param clientId string
param workerIdentityId string
param workerClientId string
param registry string
param vaultUri string
@description('Account with the container mlflow, where the MLflow server keeps artifacts.')
param storageName string
param imageTag string
@description('Prefect servers; more than one need Redis for their messages.')
param servers int
@allowed(['apps', 'none'])
param workers string

var url = 'https://${name}-prefect.${domain}'
var flows = '${registry}/mlops-flows:${imageTag}'
var key = { name: 'prefect-api-key', keyVaultUrl: '${vaultUri}secrets/prefect-api-key', identity: identityId }
var workerKey = { name: 'prefect-api-key', keyVaultUrl: '${vaultUri}secrets/prefect-api-key', identity: workerIdentityId }

module server 'app.bicep' = {
  name: 'prefect-server'
  params: {
    name: '${name}-prefect'
    location: location
    tags: tags
    appsId: appsId
    identityId: identityId
    registry: registry
    image: flows
    command: ['python', '-m', 'prefect', 'server', 'start']
    args: ['--host', '0.0.0.0', '--port', '4200']
    port: 4200
    external: true
    replicas: servers
    cpu: '1'
    memory: '2Gi'
    secrets: [key, { name: 'database', keyVaultUrl: '${vaultUri}secrets/prefect-database-url', identity: identityId }]
    variables: [
      { name: 'PREFECT_API_DATABASE_CONNECTION_URL', secretRef: 'database' }
      { name: 'PREFECT_SERVER_API_AUTH_STRING', secretRef: 'prefect-api-key' }
      { name: 'PREFECT_UI_API_URL', value: '${url}/api' }
      { name: 'PREFECT_SERVER_ANALYTICS_ENABLED', value: 'false' }
    ]
  }
}

module mlflow 'app.bicep' = {
  name: 'mlflow-server'
  params: {
    name: '${name}-mlflow'
    location: location
    tags: tags
    appsId: appsId
    identityId: identityId
    registry: registry
    image: flows
    command: ['sh', '-c', 'exec python -m mlflow server --host 0.0.0.0 --port 5000 --workers 1 --backend-store-uri "$DATABASE" --artifacts-destination "$ARTIFACTS"']
    port: 5000
    memory: '2Gi'
    cpu: '1'
    secrets: [{ name: 'database', keyVaultUrl: '${vaultUri}secrets/mlflow-database-url', identity: identityId }]
    variables: [
      { name: 'DATABASE', secretRef: 'database' }
      { name: 'ARTIFACTS', value: 'wasbs://mlflow@${storageName}.blob.${environment().suffixes.storage}/' }
      { name: 'AZURE_CLIENT_ID', value: clientId }
      { name: 'MLFLOW_SERVER_ENABLE_JOB_EXECUTION', value: 'false' }
      { name: 'MLFLOW_SERVER_ALLOWED_HOSTS', value: '${name}-mlflow,${name}-mlflow.internal.${domain}' }
    ]
  }
}

// A worker for each pool; its type is the pool's.
module apps 'app.bicep' = [for each in (workers == 'apps' ? [
  { pool: 'operations', type: 'azure-container-instance' }
  { pool: 'training', type: 'azure-ml' }
] : []): {
  name: 'worker-${each.pool}'
  params: {
    name: '${name}-${each.pool}'
    location: location
    tags: tags
    appsId: appsId
    identityId: workerIdentityId
    registry: registry
    image: '${registry}/mlops-worker:${imageTag}'
    args: ['--pool', each.pool, '--type', each.type]
    secrets: [workerKey]
    variables: [
      { name: 'PREFECT_API_URL', value: '${url}/api' }
      { name: 'PREFECT_API_AUTH_STRING', secretRef: 'prefect-api-key' }
      { name: 'AZURE_CLIENT_ID', value: workerClientId }
    ]
  }
}]
