using '../main.bicep'

param environment = 'dev'
param databaseSku = { name: 'Standard_B1ms', tier: 'Burstable' }
param databaseGeoBackup = 'Disabled'
param storageSku = 'Standard_LRS'
param registrySku = 'Basic'
param servers = 1
// The six apps hold 4 vCPU and 8 GiB: some 315 USD a month at 0.000024 a vCPU and 0.000003 a GiB second, of which the
// region's price list has its own; the rest is a guess at PostgreSQL, scoring groups and flow runs. Set your own.
param monthlyBudget = 450
param alertEmails = [readEnvironmentVariable('MLOPS_ALERT_EMAIL')]
param imageTag = readEnvironmentVariable('MLOPS_IMAGE_TAG')
param budgetStart = readEnvironmentVariable('MLOPS_BUDGET_START', '')
// Secrets come from the environment of whoever deploys.
param databasePassword = readEnvironmentVariable('MLOPS_DATABASE_PASSWORD')
param serversSignIn = readEnvironmentVariable('MLOPS_SERVERS_SIGN_IN')
