using '../main.bicep'

param environment = 'dev'
param databaseSku = { name: 'Standard_B1ms', tier: 'Burstable' }
param databaseGeoBackup = 'Disabled'
param storageSku = 'Standard_LRS'
param registrySku = 'Basic'
param servers = 1
param monthlyBudget = 150
param alertEmails = [readEnvironmentVariable('MLOPS_ALERT_EMAIL')]
param budgetStart = readEnvironmentVariable('MLOPS_BUDGET_START', '')
// Secrets come from the environment of whoever deploys.
param databasePassword = readEnvironmentVariable('MLOPS_DATABASE_PASSWORD')
param serversSignIn = readEnvironmentVariable('MLOPS_SERVERS_SIGN_IN')
