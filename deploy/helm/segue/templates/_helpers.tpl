{{- define "segue.fullname" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (default .Chart.Name .Values.nameOverride) .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name (default .Chart.Name .Values.nameOverride) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "segue.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The server's pods, and not those of jobs. */}}
{{- define "segue.serverSelector" -}}
{{ include "segue.selector" . }}
app.kubernetes.io/component: server
{{- end }}

{{- define "segue.labels" -}}
{{ include "segue.selector" . }}
app.kubernetes.io/version: {{ default .Chart.AppVersion .Values.image.tag | quote }}
{{- end }}

{{- define "segue.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end }}
{{- end }}

{{- define "segue.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "segue.fullname" .) .Values.serviceAccount.name }}
{{- else }}{{ default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* What every pod has in common: no token of the cluster, no root, nothing that a profile "restricted" refuses. */}}
{{- define "segue.pod" -}}
serviceAccountName: {{ include "segue.serviceAccountName" . }}
automountServiceAccountToken: false
# Variables of service links would be taken for settings.
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "segue.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* CPU may be exceeded where it is free; memory may not. */}}
{{- define "segue.resources" -}}
requests: {cpu: {{ .cpu | quote }}, memory: {{ .memory }}}
limits: {memory: {{ .memory }}}
{{- end }}

{{/* The settings, of which values.config can set those that the chart does not. */}}
{{- define "segue.config" -}}
data: /data
listen: 0.0.0.0:7070
ops-listen: 0.0.0.0:7071
shutdown-timeout: {{ .Values.shutdownSeconds }}s
{{- if .Values.tls.secretName }}
tls-cert: /tls/tls.crt
tls-key: /tls/tls.key
{{- if .Values.tls.clientCA }}
tls-client-ca: /tls/ca.crt
{{- end }}
{{- else if not (index .Values.config "insecure") }}
{{- fail "tls.secretName is empty: calls would not be encrypted. Name a secret, or set config.insecure: true" }}
{{- end }}
{{- if .Values.access.secretName }}
access-file: /access/{{ .Values.access.key }}
{{- else if not (or (index .Values.config "jwt-issuer") (index .Values.config "insecure")) }}
{{- fail "access.secretName is empty: everybody could do everything. Name a secret, or set config.jwt-issuer, or config.insecure: true" }}
{{- end }}
{{- range $name, $value := .Values.config }}
{{ $name }}: {{ toJson $value }}
{{- end }}
{{- end }}

{{/* The port of HTTP with JSON; nothing where config does not set http-listen. */}}
{{- define "segue.httpPort" -}}
{{- with index .Values.config "http-listen" }}{{ toString . | splitList ":" | last }}{{ end }}
{{- end }}

{{/* A job's flags to reach the server: .root and .host. */}}
{{- define "segue.clientArgs" -}}
{{- $v := .root.Values -}}
- --addr={{ .host }}:7070
{{- if $v.tls.secretName }}
- --tls-ca=/ca/ca.crt
{{- else }}
- --insecure
{{- end }}
{{- if $v.client.tokenSecret }}
- --token-file=/token/{{ $v.client.tokenKey }}
{{- end }}
{{- end }}

{{- define "segue.clientMounts" -}}
{{- if .Values.tls.secretName }}
- {name: ca, mountPath: /ca, readOnly: true}
{{- end }}
{{- if .Values.client.tokenSecret }}
- {name: token, mountPath: /token, readOnly: true}
{{- end }}
{{- end }}

{{- define "segue.clientVolumes" -}}
{{- if .Values.tls.secretName }}
- name: ca
  secret:
    secretName: {{ default .Values.tls.secretName .Values.client.caSecret }}
    items: [{key: ca.crt, path: ca.crt}]
{{- end }}
{{- if .Values.client.tokenSecret }}
- name: token
  secret: {secretName: {{ .Values.client.tokenSecret }}}
{{- end }}
{{- end }}
