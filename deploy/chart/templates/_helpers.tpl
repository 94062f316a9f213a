{{- define "vtm-ingress.labels" -}}
app.kubernetes.io/name: vtm-ingress
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* The namespace of the Lease that decides which instance writes. */ -}}
{{- define "vtm-ingress.leaseNamespace" -}}
{{ .Values.settings.lease_namespace | default .Release.Namespace }}
{{- end }}

{{- define "vtm-ingress.leaseName" -}}
{{ .Values.settings.lease_name | default (printf "vtm-ingress-%s" (.Values.settings.controller_id | default "k8s")) }}
{{- end }}

{{- /* What the controller may in the namespaces that it watches. */ -}}
{{- define "vtm-ingress.watchRules" -}}
# What is to be served.
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [list, watch]
# Backends and certificates.
- apiGroups: [""]
  resources: [services, secrets]
  verbs: [list, watch]
{{- if .Values.settings.acme_terms_agreed }}
# Certificates that are issued, and the ACME account; those that nobody uses go.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, update, delete]
{{- end }}
# Which nodes have ready Pods.
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
# The same, from API servers of 1.19 and 1.20.
- apiGroups: [""]
  resources: [endpoints]
  verbs: [list, watch]
# Owners of Ingresses are told here.
- apiGroups: [networking.k8s.io]
  resources: [ingresses/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end }}
