output "env" {
  description = "The lines of .env that put the lake on this account: `terraform output -raw env`."
  value       = <<-EOT
    COMPOSE_PROFILES=
    AVLAKE_URI=abfss://${azurerm_storage_container.this["lake"].name}@${azurerm_storage_account.this.primary_dfs_host}
    AVLAKE_LANDING=abfss://${azurerm_storage_container.this["landing"].name}@${azurerm_storage_account.this.primary_dfs_host}
    AZURE_STORAGE_ACCOUNT_NAME=${azurerm_storage_account.this.name}
    AZURE_CLIENT_ID=${azurerm_user_assigned_identity.this.client_id}
  EOT
}

output "identity_id" {
  description = "The identity to give a machine: `az vm identity assign --identities`."
  value       = azurerm_user_assigned_identity.this.id
}
