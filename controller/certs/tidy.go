package certs

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/kube"
)

const (
	// tidyAgain is how often Secrets are looked over.
	tidyAgain = time.Hour
	// unusedLife is how long a Secret of ours stays that no Ingress names.
	unusedLife = 30 * 24 * time.Hour
	// maxTidied bounds the writes of one time.
	maxTidied = 100
	// endsSoon is how long before its end a certificate is told of that is not ours to
	// renew.
	endsSoon = 14 * 24 * time.Hour
)

// tidy looks over all Secrets now and then: it tells of certificates that end and are
// not ours, and removes those of ours that nobody has named for long. It returns after
// how long the next time is.
func (m *Manager) tidy(ctx context.Context, snapshot *kube.Snapshot) time.Duration {
	now := m.now()
	if wait := m.nextTidy.Sub(now); wait > 0 {
		return wait
	}
	m.nextTidy = now.Add(tidyAgain)
	used := map[types.NamespacedName]bool{}
	for name, ingress := range snapshot.Ingresses.All() { // whoever serves it
		for _, entry := range ingress.Spec.TLS {
			used[types.NamespacedName{Namespace: name.Namespace, Name: entry.SecretName}] = true
		}
	}
	if namespace, name, is := strings.Cut(m.o.Settings.DefaultCertificate, "/"); is {
		used[types.NamespacedName{Namespace: namespace, Name: name}] = true
	}
	ends := map[types.NamespacedName]time.Time{}
	known := make(map[*corev1.Secret]time.Time, len(m.ends))
	tidied := 0
	for _, name := range slices.SortedFunc(snapshot.Secrets.Keys(), compareNames) {
		secret := snapshot.Secrets.Get(name)
		if kube.IssuedBy(secret, m.o.Settings.ControllerID) {
			if m.o.Settings.ACMETermsAgreed && tidied < maxTidied && m.tidySecret(ctx, secret, used[name], now) {
				tidied++
			}
			continue
		}
		if !used[name] {
			continue
		}
		end, is := m.ends[secret]
		if !is {
			if leaf := leafOf(secret); leaf != nil {
				end = leaf.NotAfter
			}
		}
		known[secret] = end
		if !end.IsZero() && now.Add(endsSoon).After(end) {
			ends[name] = end.UTC()
		}
	}
	m.ends = known
	m.mu.Lock()
	m.ending = ends
	m.publish()
	m.mu.Unlock()
	return tidyAgain
}

// tidySecret marks a Secret of ours that nobody uses, unmarks one that somebody uses
// again, and deletes one that was marked long ago. It reports whether there was
// something to do.
func (m *Manager) tidySecret(ctx context.Context, secret *corev1.Secret, used bool, now time.Time) bool {
	mark, marked := secret.Annotations[kube.UnusedSince]
	since, err := time.Parse(time.RFC3339, mark)
	readable := marked && err == nil && !since.After(now)
	switch {
	case used && !marked, !used && readable && now.Sub(since) < unusedLife:
		return false
	case used:
		err = m.remark(ctx, secret, func(s *corev1.Secret) { delete(s.Annotations, kube.UnusedSince) })
	case !readable:
		err = m.remark(ctx, secret, func(s *corev1.Secret) { s.Annotations[kube.UnusedSince] = now.UTC().Format(time.RFC3339) })
	default:
		err = m.remove(ctx, secret, mark)
	}
	if err != nil && ctx.Err() == nil {
		m.o.Log.Error("a Secret that was made for a certificate can't be kept tidy", "secret", secret.Namespace+"/"+secret.Name, "error", err)
	}
	return true
}

// ours reads a Secret past all caches, and says so if it is not the one that was seen.
func (m *Manager) ours(ctx context.Context, seen *corev1.Secret) (*corev1.Secret, error) {
	secret, err := m.current(ctx, types.NamespacedName{Namespace: seen.Namespace, Name: seen.Name})
	if err == nil && (secret == nil || secret.UID != seen.UID) {
		err = fmt.Errorf("it is another one now")
	}
	return secret, err
}

func (m *Manager) remark(ctx context.Context, seen *corev1.Secret, how func(*corev1.Secret)) error {
	secret, err := m.ours(ctx, seen)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	secret = secret.DeepCopy()
	how(secret)
	_, err = m.o.Client.CoreV1().Secrets(secret.Namespace).Update(ctx, secret, metav1.UpdateOptions{})
	return err
}

func (m *Manager) remove(ctx context.Context, seen *corev1.Secret, mark string) error {
	secret, err := m.ours(ctx, seen)
	if err != nil {
		return err
	}
	if secret.Annotations[kube.UnusedSince] != mark {
		return fmt.Errorf("its mark is another one now")
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	err = m.o.Client.CoreV1().Secrets(secret.Namespace).Delete(ctx, secret.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &secret.UID, ResourceVersion: &secret.ResourceVersion},
	})
	if err == nil {
		m.o.Log.Info("a Secret that was made for a certificate is deleted, since no Ingress names it", "secret", secret.Namespace+"/"+secret.Name, "since", mark)
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
