variable "subscription_id" {
  description = "The subscription that everything is made in."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", var.subscription_id))
    error_message = "subscription_id is a GUID in small letters."
  }
}

variable "resource_group_name" {
  description = "The resource group to make."
  type        = string
  default     = "avlake"

  validation {
    condition     = can(regex("^[A-Za-z0-9_.()-]{1,89}[A-Za-z0-9_()-]$", var.resource_group_name))
    error_message = "resource_group_name has 2 to 90 letters, digits, _ . ( ) - and does not end in a dot."
  }
}

variable "location" {
  description = "The Azure region, as `az account list-locations` names it. Workers belong in the same one."
  type        = string
  default     = "westeurope"

  validation {
    condition     = can(regex("^[a-z0-9]+$", var.location))
    error_message = "location is a region's short name, such as westeurope."
  }
}

variable "storage_account_name" {
  description = "The storage account to make; unique in all of Azure."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9]{3,24}$", var.storage_account_name))
    error_message = "storage_account_name has 3 to 24 small letters and digits."
  }
}

variable "replication" {
  description = "How the account keeps its copies: LRS (one datacentre), ZRS (three), GRS or GZRS (a second region, too)."
  type        = string
  default     = "ZRS"

  validation {
    condition     = contains(["LRS", "ZRS", "GRS", "GZRS"], var.replication)
    error_message = "replication is LRS, ZRS, GRS or GZRS."
  }
}

variable "shared_access_key_enabled" {
  description = "Whether the account's keys open it. Off: only identities do, and nothing that can leak opens everything."
  type        = bool
  default     = false
}

variable "allowed_ip_ranges" {
  description = "Public addresses or CIDR ranges that reach the account; others are refused. Empty: every address, which still needs an identity."
  type        = list(string)
  default     = []
}

variable "federated_subject" {
  description = "On AKS: the issuer of the cluster's tokens and the service account that may take the identity."
  type        = object({ issuer = string, subject = string })
  default     = null

  validation {
    condition     = var.federated_subject == null || can(regex("^system:serviceaccount:[^:]+:[^:]+$", var.federated_subject.subject))
    error_message = "federated_subject.subject is system:serviceaccount:NAMESPACE:NAME."
  }
}

variable "tags" {
  description = "Tags of everything that is made."
  type        = map(string)
  default     = { project = "avlake" }
}
