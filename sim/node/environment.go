package node

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// arguments are args with $(NAME) replaced from the environment.
func (c *container) arguments(environment []string) []string {
	values := map[string]string{}
	for _, e := range environment {
		name, value, _ := strings.Cut(e, "=")
		values[name] = value
	}
	var list []string
	for _, a := range c.spec.Args {
		list = append(list, expand(a, values))
	}
	return list
}

// expand replaces $(NAME) by its value and $$ by $; a name without a value stays.
func expand(text string, values map[string]string) string {
	var out strings.Builder
	for {
		i := strings.IndexByte(text, '$')
		if i < 0 || i == len(text)-1 {
			return out.String() + text
		}
		out.WriteString(text[:i])
		text = text[i:]
		if text[1] == '$' {
			out.WriteByte('$')
			text = text[2:]
			continue
		}
		if end := strings.IndexByte(text, ')'); text[1] == '(' && end > 0 {
			if value, ok := values[text[2:end]]; ok {
				out.WriteString(value)
				text = text[end+1:]
				continue
			}
		}
		out.WriteByte('$')
		text = text[1:]
	}
}

// environment of a container, in the order of its spec; references are read from
// the API server.
func (w *podWorker) environment(ctx context.Context, pod *corev1.Pod, spec corev1.Container) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	core := w.agent.client.CoreV1()
	values := map[string]string{}
	var order []string
	set := func(name, value string) {
		if _, ok := values[name]; !ok {
			order = append(order, name)
		}
		values[name] = value
	}
	for _, from := range spec.EnvFrom {
		data := map[string]string{}
		switch {
		case from.ConfigMapRef != nil:
			m, err := core.ConfigMaps(pod.Namespace).Get(ctx, from.ConfigMapRef.Name, metav1.GetOptions{})
			if err != nil && !optional(from.ConfigMapRef.Optional) {
				return nil, err
			}
			if err == nil {
				data = m.Data
			}
		case from.SecretRef != nil:
			s, err := core.Secrets(pod.Namespace).Get(ctx, from.SecretRef.Name, metav1.GetOptions{})
			if err != nil && !optional(from.SecretRef.Optional) {
				return nil, err
			}
			if err == nil {
				for k, v := range s.Data {
					data[k] = string(v)
				}
			}
		}
		for _, k := range slices.Sorted(maps.Keys(data)) {
			set(from.Prefix+k, data[k])
		}
	}
	for _, e := range spec.Env {
		value, found, err := expand(e.Value, values), true, error(nil)
		if e.ValueFrom != nil {
			value, found, err = w.reference(ctx, pod, e.ValueFrom)
		}
		if err != nil {
			return nil, fmt.Errorf("environment variable %s: %w", e.Name, err)
		}
		if found {
			set(e.Name, value)
		}
	}
	var list []string
	for _, name := range order {
		list = append(list, name+"="+values[name])
	}
	return list, nil
}

func optional(b *bool) bool { return b != nil && *b }

// reference resolves valueFrom; found is false for an optional one that is missing.
func (w *podWorker) reference(ctx context.Context, pod *corev1.Pod, from *corev1.EnvVarSource) (value string, found bool, err error) {
	core := w.agent.client.CoreV1()
	switch {
	case from.FieldRef != nil:
		value, err = w.field(pod, from.FieldRef.FieldPath)
		return value, true, err
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		m, err := core.ConfigMaps(pod.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		if err == nil {
			if value, ok := m.Data[ref.Key]; ok {
				return value, true, nil
			}
			err = fmt.Errorf("ConfigMap %s has no key %s", ref.Name, ref.Key)
		}
		if optional(ref.Optional) {
			err = nil
		}
		return "", false, err
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		s, err := core.Secrets(pod.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		if err == nil {
			if value, ok := s.Data[ref.Key]; ok {
				return string(value), true, nil
			}
			err = fmt.Errorf("Secret %s has no key %s", ref.Name, ref.Key)
		}
		if optional(ref.Optional) {
			err = nil
		}
		return "", false, err
	}
	return "", false, fmt.Errorf("only fieldRef, configMapKeyRef and secretKeyRef are emulated")
}

// field is the downward API.
func (w *podWorker) field(pod *corev1.Pod, path string) (string, error) {
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.podIP":
		return w.ips[0].String(), nil
	case "status.hostIP":
		return w.agent.Stacks[0].Address.String(), nil
	case "status.podIPs", "status.hostIPs":
		var all []string
		for i, stack := range w.agent.Stacks {
			ip := w.ips[i]
			if path == "status.hostIPs" {
				ip = stack.Address
			}
			all = append(all, ip.String())
		}
		return strings.Join(all, ","), nil
	}
	for prefix, values := range map[string]map[string]string{"metadata.labels['": pod.Labels, "metadata.annotations['": pod.Annotations} {
		if rest, ok := strings.CutPrefix(path, prefix); ok {
			return values[strings.TrimSuffix(rest, "']")], nil
		}
	}
	return "", fmt.Errorf("fieldPath %s is not emulated", path)
}
