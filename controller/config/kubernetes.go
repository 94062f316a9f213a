package config

import (
	"errors"
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// KubernetesConfig says how to reach the API server: by k8s_config_path if that
// is set, else by k8s_endpoint with its token, else as a Pod of the cluster does.
// Endpoint, credentials and CA always come from one of them together. The result
// is for internal/kubeclient.
func KubernetesConfig(s *Settings) (*rest.Config, error) {
	var kube *rest.Config
	switch {
	case s.K8sConfigPath != "":
		found, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
			&clientcmd.ClientConfigLoadingRules{ExplicitPath: s.K8sConfigPath}, &clientcmd.ConfigOverrides{},
		).ClientConfig()
		if err != nil {
			return nil, fmt.Errorf("k8s_config_path: %s: %w", s.K8sConfigPath, err)
		}
		kube = found
	case s.K8sEndpoint != "":
		kube = &rest.Config{
			Host:            s.K8sEndpoint,
			BearerToken:     s.K8sToken.Reveal(),
			BearerTokenFile: s.K8sTokenFile,
			TLSClientConfig: rest.TLSClientConfig{CAFile: s.K8sCAFile},
		}
	default:
		found, err := rest.InClusterConfig()
		if errors.Is(err, rest.ErrNotInCluster) {
			return nil, errors.New("how to reach Kubernetes is not said: set k8s_config_path, or k8s_endpoint and k8s_token")
		}
		if err != nil {
			return nil, fmt.Errorf("the credentials of this Pod can't be used: %w", err)
		}
		kube = found
	}
	if !s.K8sVerifySSL {
		kube.Insecure = true
		kube.CAFile, kube.CAData = "", nil // client-go refuses both at once
	}
	kube.Timeout = 0
	kube.UserAgent = "vtm-ingress-controller"
	return kube, nil
}
