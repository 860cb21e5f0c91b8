// Package kubernetes has only tests: of the manifests in deploy/kubernetes. It is a module of its own, so that
// Kubernetes' types and kustomize stay out of ours.
package kubernetes
