using '../main.bicep'

param environment = 'prod'
param databaseSku = { name: 'Standard_D2ds_v5', tier: 'GeneralPurpose' }
param databaseGeoBackup = 'Enabled'
param storageSku = 'Standard_ZRS'
param registrySku = 'Standard'
param servers = 1
param monthlyBudget = 900
param alertEmails = [readEnvironmentVariable('MLOPS_ALERT_EMAIL')]
param budgetStart = readEnvironmentVariable('MLOPS_BUDGET_START', '')
// Secrets come from the environment of whoever deploys.
param databasePassword = readEnvironmentVariable('MLOPS_DATABASE_PASSWORD')
param serversSignIn = readEnvironmentVariable('MLOPS_SERVERS_SIGN_IN')
