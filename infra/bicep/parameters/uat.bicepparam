using '../main.bicep'

param environment = 'uat'
param databaseSku = { name: 'Standard_B2s', tier: 'Burstable' }
param databaseGeoBackup = 'Disabled'
param storageSku = 'Standard_LRS'
param registrySku = 'Standard'
param servers = 1
param monthlyBudget = 300
param alertEmails = [readEnvironmentVariable('MLOPS_ALERT_EMAIL')]
param budgetStart = readEnvironmentVariable('MLOPS_BUDGET_START', '')
// Secrets come from the environment of whoever deploys.
param databasePassword = readEnvironmentVariable('MLOPS_DATABASE_PASSWORD')
param serversSignIn = readEnvironmentVariable('MLOPS_SERVERS_SIGN_IN')
