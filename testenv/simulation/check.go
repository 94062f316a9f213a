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
	lines := strings.Split(string(secret.Data[corev1.TLSPrivateKeyKey]), "\n")
	if len(lines) < 2 || len(lines[1]) < 20 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// As it is, and as the manifest has it.
	r.keys = append(r.keys, lines[1][20:40], base64.StdEncoding.EncodeToString(secret.Data[corev1.TLSPrivateKeyKey])[100:140])
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
	for _, family := range families {
		for _, key := range r.secretsToHide() {
			if strings.Contains(family.String(), key) {
				r.violate(8, "a secret is in the metric %s of controller %s", family.GetName(), c.name)
			}
		}
	}
}

// secretsToHide are pieces of the private keys so far, and the password.
func (r *run) secretsToHide() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append(slices.Clone(r.keys), sandbox.Password)
}
