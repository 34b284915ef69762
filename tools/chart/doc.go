// Package chart holds the Helm chart in deploy/helm to Kubernetes' own words, without a cluster: its tests render it as helm
// does, decode every object strictly into the types of Kubernetes and of the Prometheus operator, and check what those types
// cannot say. It is a module of its own, so that nobody else builds Kubernetes.
//
// The manifests in deploy/kubernetes are renderings of the chart. `make manifests` writes them; a test says when they are stale.
package chart
