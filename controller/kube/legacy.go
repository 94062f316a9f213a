//lint:file-ignore SA1019 these types are deprecated, but a cluster of version 1.19 or 1.20 has no others

package kube

import corev1 "k8s.io/api/core/v1"

type (
	legacyEndpoints     = corev1.Endpoints
	legacyEndpointsList = corev1.EndpointsList
)
