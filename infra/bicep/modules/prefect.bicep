// The servers (Prefect, MLflow, the pages of reports and of Evidently) and a worker for each pool. The servers are
// reached from everywhere, since flow runs are elsewhere; all of them ask for the sign-in of the vault.
param name string
param location string
param tags object
param appsId string
param domain string
@description('Resource ids of the identities server and worker.')
param ids object
@description('Their client ids.')
param clients object
param registry string
param vaultUri string
param databasesVaultUri string
@description('Account with the containers mlops, the store, and mlflow, where the MLflow server keeps artifacts.')
param storageName string
param imageTag string
param deployed string
@description('Prefect servers; more than one need Redis for their messages.')
param servers int
@allowed(['apps', 'none'])
param workers string

var prefectHost = '${name}-prefect.${domain}'
var mlflowHost = '${name}-mlflow.${domain}'
var blobs = '${storageName}.blob.${environment().suffixes.storage}'
var flows = '${registry}/mlops-flows:${imageTag}'
var signInUrl = '${vaultUri}secrets/servers-sign-in'
var signIn = { name: 'servers-sign-in', keyVaultUrl: signInUrl, identity: ids.server }
// The ingress alone reaches the containers; what it says of the request's scheme is believed.
var behindIngress = { name: 'FORWARDED_ALLOW_IPS', value: '*' }

module server 'app.bicep' = {
  name: 'prefect-server'
  params: {
    name: '${name}-prefect'
    location: location
    tags: tags
    appsId: appsId
    identityId: ids.server
    registry: registry
    image: flows
    command: ['python', '-m', 'prefect', 'server', 'start', '--host', '0.0.0.0', '--port', '4200']
    port: 4200
    replicas: servers
    cpu: '1'
    memory: '2Gi'
    secrets: [signIn, { name: 'database', keyVaultUrl: '${databasesVaultUri}secrets/prefect-database-url', identity: ids.server }]
    deployed: deployed
    variables: [
      behindIngress
      { name: 'PREFECT_API_DATABASE_CONNECTION_URL', secretRef: 'database' }
      { name: 'PREFECT_SERVER_API_AUTH_STRING', secretRef: 'servers-sign-in' }
      { name: 'PREFECT_UI_API_URL', value: 'https://${prefectHost}/api' }
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
    identityId: ids.server
    registry: registry
    image: flows
    command: ['python', '-m', 'mlflow', 'server', '--app-name', 'mlops', '--host', '0.0.0.0', '--port', '5000', '--workers', '1']
    port: 5000
    cpu: '1'
    memory: '2Gi'
    secrets: [signIn, { name: 'database', keyVaultUrl: '${databasesVaultUri}secrets/mlflow-database-url', identity: ids.server }]
    deployed: deployed
    variables: [
      behindIngress
      { name: 'MLOPS_SERVERS_SIGN_IN', secretRef: 'servers-sign-in' }
      { name: 'MLFLOW_BACKEND_STORE_URI', secretRef: 'database' }
      { name: 'MLFLOW_ARTIFACTS_DESTINATION', value: 'wasbs://mlflow@${blobs}/' }
      { name: 'AZURE_CLIENT_ID', value: clients.server }
      { name: 'MLFLOW_SERVER_ENABLE_JOB_EXECUTION', value: 'false' }
      { name: 'MLFLOW_SERVER_ALLOWED_HOSTS', value: mlflowHost }
      { name: 'MLFLOW_SERVER_CORS_ALLOWED_ORIGINS', value: 'https://${mlflowHost}' }
    ]
  }
}

module pages 'app.bicep' = [for each in ['reports', 'evidently']: {
  name: '${each}-server'
  params: {
    name: '${name}-${each}'
    location: location
    tags: tags
    appsId: appsId
    identityId: ids.server
    registry: registry
    image: flows
    command: ['python', '-m', 'uvicorn', '--ws', 'none', '--no-access-log', '--factory', '--host', '0.0.0.0', '--port', '4300', 'deployments.pages.${each}:create_app']
    port: 4300
    secrets: [signIn]
    deployed: deployed
    variables: [
      behindIngress
      { name: 'MLOPS_SERVERS_SIGN_IN', secretRef: 'servers-sign-in' }
      { name: 'MLOPS_STORE', value: 'https://${blobs}/mlops' }
      { name: 'MLOPS_AZURE_SIGN_IN', value: 'managed_identity' }
      { name: 'MLOPS_AZURE_CLIENT_ID', value: clients.server }
    ]
  }
}]

// Its type is the pool's; the pool is `make deploy`'s, which gives it its limit.
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
    identityId: ids.worker
    registry: registry
    image: '${registry}/mlops-worker:${imageTag}'
    args: ['--pool', each.pool, '--type', each.type, '--no-create-pool-if-not-found']
    secrets: [{ name: 'servers-sign-in', keyVaultUrl: signInUrl, identity: ids.worker }]
    deployed: deployed
    variables: [
      { name: 'PREFECT_API_URL', value: 'https://${prefectHost}/api' }
      { name: 'PREFECT_API_AUTH_STRING', secretRef: 'servers-sign-in' }
      { name: 'AZURE_CLIENT_ID', value: clients.worker }
    ]
  }
}]
