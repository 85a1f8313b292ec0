{{/* Values in, the Serve YAML out: what `python -m deploy.local --config` takes, too. */}}

{{/* (dict "from" autoscaling "where" TEXT) -> autoscaling_config */}}
{{- define "segserve.autoscaling" -}}
{{- $names := dict "minReplicas" "min_replicas" "maxReplicas" "max_replicas" "initialReplicas" "initial_replicas" "targetOngoingRequests" "target_ongoing_requests" "upscaleDelayS" "upscale_delay_s" "downscaleDelayS" "downscale_delay_s" "downscaleToZeroDelayS" "downscale_to_zero_delay_s" "lookBackPeriodS" "look_back_period_s" -}}
{{- $found := dict -}}
{{- range $key, $value := .from }}{{ $_ := set $found (get $names $key) $value }}{{ end -}}
{{- if gt (int (default 1 $found.min_replicas)) (int (default 1 $found.max_replicas)) -}}
{{- fail (printf "%s.autoscaling: minReplicas (%v) is above maxReplicas (%v)" .where (default 1 $found.min_replicas) (default 1 $found.max_replicas)) -}}
{{- end -}}
{{ toYaml $found }}
{{- end -}}

{{/* (dict "name" "Panoptic" "from" entry "where" TEXT) -> one deployment */}}
{{- define "segserve.deployment" -}}
{{- $from := .from -}}
{{- $resources := default dict $from.resources -}}
name: {{ .name }}
{{- if $from.autoscaling }}
autoscaling_config:
  {{- include "segserve.autoscaling" (dict "from" $from.autoscaling "where" .where) | nindent 2 }}
{{- else }}
num_replicas: {{ default 1 $from.replicas }}
{{- end }}
{{- with $from.maxReplicasPerNode }}
max_replicas_per_node: {{ . }}
{{- end }}
ray_actor_options:
  num_cpus: {{ if hasKey $resources "cpus" }}{{ $resources.cpus }}{{ else }}1{{ end }}
  {{- with $resources.gpus }}
  num_gpus: {{ . }}
  {{- end }}
  {{- with $resources.memory }}
  memory: {{ . | int64 }}
  {{- end }}
  {{- with $resources.custom }}
  resources: {{ toJson . }}
  {{- end }}
{{- with $from.userConfig }}
user_config: {{ toJson . }}
{{- end }}
{{- end -}}

{{- define "segserve.serveConfig" -}}
{{- $fused := false -}}
{{- range .Values.models }}{{ if eq .service "fused" }}{{ $fused = true }}{{ end }}{{ end -}}
{{- if and $fused (or .Values.gateway.enabled (ne (len .Values.models) 1)) -}}
{{- fail "models: one of the service `fused` answers HTTP itself: it must be the only entry, with gateway.enabled: false" -}}
{{- end -}}
{{- if not (or $fused .Values.gateway.enabled) -}}
{{- fail "gateway.enabled: without a gateway only a model of the service `fused` can be reached" -}}
{{- end -}}
# A proxy on every worker that has replicas: KubeRay's probe asks it.
proxy_location: EveryNode
http_options:
  host: 0.0.0.0
  port: 8000
applications:
{{- if .Values.gateway.enabled }}
  - name: gateway
    route_prefix: /
    import_path: services.gateway.deployment:build
    deployments:
      -
        {{- include "segserve.deployment" (dict "name" "Gateway" "from" .Values.gateway "where" "gateway") | nindent 8 }}
{{- end }}
{{- $names := dict "gateway" true }}
{{- range .Values.models }}
{{- $where := printf "models: %s" .name }}
{{- if hasKey $names .name }}{{ fail (printf "%s: the name is taken" $where) }}{{ end }}
{{- $_ := set $names .name true }}
  - name: {{ .name }}
    route_prefix: {{ ternary "/" "null" (eq .service "fused") }}
    import_path: services.{{ ternary "gateway.fused" (printf "%s.deployment" .service) (eq .service "fused") }}:build
    args: {{ toJson .args }}
    deployments:
      {{- if eq .service "promptable" }}
      {{- $promptable := . }}
      {{- range list "encoder" "decoder" }}
      -
        {{- include "segserve.deployment" (dict "name" (title .) "from" (default dict (get $promptable .)) "where" (printf "%s.%s" $where .)) | nindent 8 }}
      {{- end }}
      {{- else }}
      -
        {{- include "segserve.deployment" (dict "name" (title .service) "from" . "where" $where) | nindent 8 }}
      {{- end }}
{{- end }}
{{- end -}}
