{{/* What a schema cannot say: values that do not go together. */}}
{{- define "segserve.checks" -}}
{{- $values := .Values -}}
{{- range .Values.workerGroups -}}
{{- if or (lt (int .replicas) (int .minReplicas)) (gt (int .replicas) (int .maxReplicas)) -}}
{{- fail (printf "workerGroups: %s: replicas (%v) is not between minReplicas (%v) and maxReplicas (%v)" .name .replicas .minReplicas .maxReplicas) -}}
{{- end -}}
{{- end -}}
{{- $groups := list -}}
{{- range .Values.workerGroups }}{{ $groups = append $groups .name }}{{ end -}}
{{- if ne (len $groups) (len ($groups | uniq)) -}}
{{- fail (printf "workerGroups: names must differ, not %s" (join ", " $groups)) -}}
{{- end -}}
{{- $gpus := 0 -}}
{{- range .Values.workerGroups }}{{ $gpus = add $gpus (int .gpus) }}{{ end -}}
{{- range .Values.models -}}
{{- $name := .name -}}
{{- range list . (default dict .encoder) (default dict .decoder) -}}
{{- if and (default dict .resources).gpus (not $gpus) -}}
{{- fail (printf "models: %s books GPUs (resources.gpus), but no workerGroup has any (gpus)" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (or .Values.ingress.enabled .Values.httpRoute.enabled) (not (include "segserve.keysSecret" .)) (not .Values.auth.anonymous) -}}
{{- fail "auth: an Ingress or HTTPRoute to an API that asks for no key: set auth.keys or auth.existingSecret, or auth.anonymous: true" -}}
{{- end -}}
{{- if and .Values.gcsFaultTolerance.enabled .Values.gcsFaultTolerance.externalAddress (not .Values.gcsFaultTolerance.existingSecret) -}}
{{- fail "gcsFaultTolerance.existingSecret: name the secret with the password of externalAddress" -}}
{{- end -}}
{{- with .Values.upgrade -}}
{{- if eq .strategy "NewClusterWithIncrementalUpgrade" -}}
{{- if or (not .gatewayClassName) (not $values.autoscaler.enabled) (gt (int .stepSizePercent) (int .maxSurgePercent)) -}}
{{- fail "upgrade.strategy: NewClusterWithIncrementalUpgrade needs gatewayClassName, autoscaler.enabled, and stepSizePercent at most maxSurgePercent" -}}
{{- end -}}
{{- if or $values.ingress.enabled $values.httpRoute.enabled -}}
{{- fail "upgrade.strategy: NewClusterWithIncrementalUpgrade brings a Gateway and a route of KubeRay's own: switch ingress and httpRoute off" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name, $_ := .Values.settings -}}
{{- if has $name (list "host" "port" "home" "transport" "redis_url" "api_keys" "api_key" "weights_dir" "node_probes" "metrics_port") -}}
{{- fail (printf "settings.%s: the chart sets it (see auth, valkey, externalRedis, weights)" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
