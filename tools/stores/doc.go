// Package stores tests backups to object stores: the segue command against servers that speak the protocols of S3 and of Google Cloud
// Storage, in a module of its own for what those servers need.
package stores
