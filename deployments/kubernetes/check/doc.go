// Package check builds the manifests as kubectl would, decodes them strictly into the API's own types, and checks what no
// schema knows: that selectors, names and ports meet, and that a pod is given more time to stop than it needs.
//
// It is a module of its own, so that whoever uses Seriatim does not get Kubernetes with it:
//
//	cd deployments/kubernetes/check && go test ./...
package check
