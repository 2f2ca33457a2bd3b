using '../main.bicep'

param environment = 'prod'
param databaseSku = { name: 'Standard_D2ds_v5', tier: 'GeneralPurpose' }
param databaseGeoBackup = 'Enabled'
param storageSku = 'Standard_ZRS'
param registrySku = 'Standard'
param servers = 1
// The six apps hold 4 vCPU and 8 GiB: some 315 USD a month at 0.000024 a vCPU and 0.000003 a GiB second, of which the
// region's price list has its own; the rest is a guess at PostgreSQL, scoring groups and flow runs. Set your own.
param monthlyBudget = 1200
param alertEmails = [readEnvironmentVariable('MLOPS_ALERT_EMAIL')]
param imageTag = readEnvironmentVariable('MLOPS_IMAGE_TAG')
param budgetStart = readEnvironmentVariable('MLOPS_BUDGET_START', '')
// Secrets come from the environment of whoever deploys.
param databasePassword = readEnvironmentVariable('MLOPS_DATABASE_PASSWORD')
param serversSignIn = readEnvironmentVariable('MLOPS_SERVERS_SIGN_IN')
