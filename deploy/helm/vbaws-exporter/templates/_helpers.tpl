{{- define "vbaws.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "vbaws.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{- $name := include "vbaws.name" . -}}
{{ (contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name)) | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "vbaws.selector" -}}
app.kubernetes.io/name: {{ include "vbaws.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "vbaws.labels" -}}
{{ include "vbaws.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "vbaws.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "vbaws.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "vbaws.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end }}

{{/* The configuration file of an exporter: (list $ EXPORTER) */}}
{{- define "vbaws.config" -}}
{{- $root := index . 0 -}}
{{- $exporter := index . 1 -}}
{{- /* Not merge: to it, 0 and [] are nothing. */ -}}
{{- $config := deepCopy $root.Values.settings -}}
{{- range $key, $value := $exporter.settings -}}
{{- $_ := set $config $key $value -}}
{{- end -}}
{{- $_ := set $config "appliances" $exporter.appliances -}}
{{ toYaml $config }}
{{- end }}

{{/* What can't be seen by a schema. */}}
{{- define "vbaws.check" -}}
{{- $seen := dict -}}
{{- range $name, $exporter := .Values.exporters -}}
{{- $fullname := printf "%s-%s" (include "vbaws.fullname" $) $name -}}
{{- if gt (len $fullname) 52 -}}
{{- fail (printf "the name %s is longer than the 52 characters that a StatefulSet can have: set a shorter fullnameOverride" $fullname) -}}
{{- end -}}
{{- if and (not $exporter.appliances) (ne (toString $exporter.running) "false") -}}
{{- fail (printf "exporters.%s.appliances is empty: list at least one appliance" $name) -}}
{{- end -}}
{{- range $exporter.appliances -}}
{{- if hasKey $seen .name -}}
{{- fail (printf "appliance %q is in exporters.%s and in exporters.%s: both would count its sessions" .name (get $seen .name) $name) -}}
{{- end -}}
{{- $_ := set $seen .name $name -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The restricted Pod Security Standard, and no more than that takes. */}}
{{- define "vbaws.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65534
runAsGroup: 65534
fsGroup: 65534
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "vbaws.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* How a probe asks for a path: (list $ PATH) */}}
{{- define "vbaws.probe" -}}
{{- $root := index . 0 -}}
{{- if $root.Values.web.authentication -}}
exec:
  command: [/bin/vbaws_exporter, healthcheck]
{{- else -}}
httpGet:
  path: {{ index . 1 }}
  port: http
  scheme: {{ $root.Values.web.tls | ternary "HTTPS" "HTTP" }}
{{- end -}}
{{- end }}

{{- define "vbaws.claim" -}}
accessModes:
  {{- toYaml .Values.persistence.accessModes | nindent 2 }}
{{- with .Values.persistence.storageClassName }}
storageClassName: {{ . | quote }}
{{- end }}
resources:
  requests:
    storage: {{ .Values.persistence.size }}
{{- end }}
