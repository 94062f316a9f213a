package simulation

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"vtm-ingress/sim/sandbox"
)

// look checks, after each thing that happened, what must always hold and is not
// seen where it happens (checkLease, checkAnswer, count, mayAnswer).
func (r *run) look() {
	r.learn()
	r.noSecretIsTold()
}

// secretKnown notes the private key of a Secret that is about to be applied.
func (r *run) secretKnown(manifest string) {
	var secret corev1.Secret
	if json.Unmarshal([]byte(manifest), &secret) != nil {
		return
	}
	r.keyKnown(secret.Data[corev1.TLSPrivateKeyKey])
}

// keyKnown notes pieces of a private key in PEM, as it is and as a Secret's manifest has
// it. Other data are none.
func (r *run) keyKnown(key []byte) {
	lines := strings.Split(string(key), "\n")
	if !strings.Contains(lines[0], "PRIVATE KEY") || len(lines) < 2 || len(lines[1]) < 40 {
		return
	}
	piece := lines[1][20:40]
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.keys, piece) {
		r.keys = append(r.keys, piece, base64.StdEncoding.EncodeToString(key)[100:140])
	}
}

// noSecretIsTold is invariant 8.
func (r *run) noSecretIsTold() {
	told := r.system.log.Since()
	for _, key := range r.secretsToHide() {
		if strings.Contains(told, key) {
			r.violate(8, "a secret is in the log")
		}
	}
}

// noSecretIsInEvents is invariant 8 for what owners read.
func (r *run) noSecretIsInEvents() {
	var list corev1.EventList
	if status, err := r.system.get("/api/v1/events", &list); err != nil || status != http.StatusOK {
		return
	}
	for _, e := range list.Items {
		for _, key := range r.secretsToHide() {
			if strings.Contains(e.Message, key) {
				r.violate(8, "a secret is in the Event %s/%s", e.Namespace, e.Name)
			}
		}
	}
}

// noSecretIsInMetrics is invariant 8 for what is measured.
func (r *run) noSecretIsInMetrics(c *instance) {
	families, err := c.metrics.Gather()
	if err != nil || len(families) == 0 {
		r.violate(0, "the metrics of controller %s can't be read: %d families, %v", c.name, len(families), err)
		return
	}
	secrets := r.secretsToHide()
	for _, family := range families {
		text := family.String()
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				r.violate(8, "a secret is in the metric %s of controller %s", family.GetName(), c.name)
			}
		}
	}
}

// secretsToHide are pieces of the private keys so far, the password, alone and as
// requests have it, and the token for Kubernetes.
func (r *run) secretsToHide() []string {
	token := r.system.box.KubernetesConfig(controllerUser).BearerToken
	r.mu.Lock()
	defer r.mu.Unlock()
	return append(slices.Clone(r.keys), sandbox.Password, base64.StdEncoding.EncodeToString([]byte(sandbox.ControllerUser+":"+sandbox.Password)), token)
}
