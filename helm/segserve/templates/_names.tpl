{{/* Names and labels: one place for each. */}}
{{- define "segserve.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* What a selector may rest on: never changes within a release, nor from one Ray cluster to the next. */}}
{{- define "segserve.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "segserve.labels" -}}
{{ include "segserve.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* (dict "root" $ "component" "valkey") */}}
{{- define "segserve.componentSelector" -}}
{{ include "segserve.selector" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* (dict "root" $ "component" "valkey") */}}
{{- define "segserve.metadata" -}}
labels:
  {{- include "segserve.labels" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Ray's pods of this release, whichever of its clusters they are of. */}}
{{- define "segserve.raySelector" -}}
{{ include "segserve.selector" . }}
ray.io/is-ray-node: "yes"
{{- end -}}

{{/* The service that KubeRay makes, and moves from one Ray cluster to the next. */}}
{{- define "segserve.serveService" -}}
{{ include "segserve.fullname" . }}-serve-svc
{{- end -}}

{{/* (dict "root" $ "tag" "") */}}
{{- define "segserve.image" -}}
{{- $image := .root.Values.image -}}
{{ $image.repository }}:{{ coalesce .tag $image.tag .root.Chart.AppVersion }}
{{- end -}}

{{- define "segserve.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "segserve.serviceAccount" -}}
{{ ternary (include "segserve.fullname" .) (default "default" .Values.serviceAccount.name) .Values.serviceAccount.create }}
{{- end -}}

{{- define "segserve.headServiceAccount" -}}
{{ ternary (printf "%s-head" (include "segserve.fullname" .)) (default "default" .Values.serviceAccount.headName) .Values.serviceAccount.create }}
{{- end -}}

{{- define "segserve.keysSecret" -}}
{{- if .Values.auth.existingSecret }}{{ .Values.auth.existingSecret }}{{ else if .Values.auth.keys }}{{ include "segserve.fullname" . }}-api-keys{{ end -}}
{{- end -}}

{{- define "segserve.valkeySecret" -}}
{{ default (printf "%s-valkey" (include "segserve.fullname" .)) .Values.valkey.existingSecret }}
{{- end -}}

{{- define "segserve.gcsSecret" -}}
{{ default (printf "%s-gcs" (include "segserve.fullname" .)) .Values.gcsFaultTolerance.existingSecret }}
{{- end -}}

{{- define "segserve.weightsClaim" -}}
{{ default (printf "%s-weights" (include "segserve.fullname" .)) .Values.weights.existingClaim }}
{{- end -}}

{{- define "segserve.cards" -}}
{{- $cards := .Values.weights.fill.cards -}}
{{- if not $cards }}{{ range .Values.models }}{{ $cards = append $cards (.args.model | splitList "@" | first) }}{{ end }}{{ end -}}
{{ $cards | uniq | sortAlpha | join " " }}
{{- end -}}

{{/* Changes with what is to be fetched: the job's name, and the mark that it leaves. */}}
{{- define "segserve.fillMark" -}}
{{ printf "%s %s" (include "segserve.cards" .) (include "segserve.image" (dict "root" . "tag" "")) | sha256sum | trunc 8 }}
{{- end -}}

{{/* A password that outlives an upgrade: (dict "root" $ "secret" NAME) */}}
{{- define "segserve.password" -}}
{{- $found := lookup "v1" "Secret" .root.Release.Namespace .secret -}}
{{- if and $found $found.data }}{{ $found.data.password }}{{ else }}{{ randAlphaNum 32 | b64enc }}{{ end -}}
{{- end -}}
