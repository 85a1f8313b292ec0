{{/* What every Ray pod has. The names of variables that are Ray's are those of deploy/cluster.py. */}}

{{- define "segserve.env" -}}
{{ include "segserve.ownEnv" . }}
{{- if eq .Values.transport "haproxy" }}
{{- include "segserve.haproxyEnv" . | nindent 0 }}
{{- end }}
{{- end -}}

{{/* All of it but where HAProxy's wrapper is, which is to be made from the binary that Serve brings along. */}}
{{- define "segserve.ownEnv" -}}
- name: RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH
  value: services.gateway.doorway:middlewares
- name: RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH
  value: "268435456"
- name: RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO
  value: "0"
- name: RAY_worker_niceness
  value: "0"
- name: RAY_USAGE_STATS_ENABLED
  value: "0"
# KubeRay's probe is a wget in the pod itself.
- name: SEGSERVE_NODE_PROBES
  value: "true"
{{- if .Values.valkey.enabled }}
- name: VALKEY_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ include "segserve.valkeySecret" . }}, key: password}
- name: SEGSERVE_REDIS_URL
  value: redis://:$(VALKEY_PASSWORD)@{{ include "segserve.fullname" . }}-valkey:6379/0
{{- else }}
- name: SEGSERVE_REDIS_URL
  valueFrom:
    secretKeyRef: {name: {{ required "externalRedis.existingSecret: with valkey.enabled: false, name a secret with the key `url`; gateways without a common store do not know each other's images" .Values.externalRedis.existingSecret }}, key: url}
{{- end }}
{{- with include "segserve.keysSecret" . }}
- name: SEGSERVE_API_KEYS
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: api-keys}
{{- end }}
{{- if .Values.weights.enabled }}
- name: SEGSERVE_WEIGHTS_DIR
  value: /weights/files
- name: HF_HOME
  value: /weights/hub
- name: TORCH_HOME
  value: /weights/torch
- name: HF_HUB_OFFLINE
  value: "1"
{{- end }}
{{- range $name, $value := .Values.settings }}
- name: SEGSERVE_{{ upper $name }}
  value: {{ $value | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What deploy/pod.py says (`variables`): HAProxy and Serve's throughput mode. */}}
{{- define "segserve.haproxyEnv" -}}
{{- $folder := include "segserve.haproxyFolder" . -}}
{{- $request := float64 (default "60" .Values.settings.request_timeout_s) -}}
{{- $stream := float64 (default "600" .Values.settings.stream_timeout_s) -}}
{{- $silence := int (add (ceil (maxf $request $stream)) 60) -}}
{{- $variables := dict
  "RAY_SERVE_ENABLE_HA_PROXY" "1"
  "RAY_SERVE_THROUGHPUT_OPTIMIZED" "1"
  "RAY_SERVE_LOG_TO_STDERR" "1"
  "RAY_SERVE_HAPROXY_BINARY_PATH" (printf "%s/haproxy" $folder)
  "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC" (printf "%s/haproxy.cfg" $folder)
  "RAY_SERVE_HAPROXY_SOCKET_PATH" (printf "%s/admin.sock" $folder)
  "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH" (printf "%s/metrics.sock" $folder)
  "RAY_SERVE_HAPROXY_SERVER_STATE_BASE" $folder
  "RAY_SERVE_HAPROXY_SERVER_STATE_FILE" (printf "%s/server-state" $folder)
  "RAY_SERVE_HAPROXY_METRICS_ENABLED" "0"
  "RAY_SERVE_HAPROXY_NBTHREAD" "1"
  "RAY_SERVE_HAPROXY_MAXCONN" "2048"
  "RAY_SERVE_HAPROXY_TUNE_BUFSIZE" "262144"
  "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S" (toString $silence)
  "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S" (toString $silence)
  "RAY_SERVE_HAPROXY_RETRY_ON" "conn-failure empty-response"
  "RAY_SERVE_HAPROXY_OBSERVE_ERROR_LIMIT" "1"
  "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT" "8500"
  "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S" "2"
  "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S" "1"
  "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S" "60" -}}
{{- range $name, $value := $variables }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}

{{- define "segserve.haproxyFolder" -}}/tmp/segserve{{- end -}}

{{/* Writes HAProxy's wrapper before Ray starts: (dict "root" $ "image" image) */}}
{{- define "segserve.haproxyInit" -}}
- name: haproxy
  image: {{ .image }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  securityContext:
    {{- toYaml .root.Values.containerSecurityContext | nindent 4 }}
  command: [python, -m, deploy.pod, {{ include "segserve.haproxyFolder" .root }}]
  env:
    {{- include "segserve.ownEnv" .root | nindent 4 }}
  resources:
    requests: {cpu: 100m, memory: 128Mi}
    limits: {memory: 256Mi}
  volumeMounts:
    {{- include "segserve.mounts" .root | nindent 4 }}
{{- end -}}

{{- define "segserve.mounts" -}}
- {name: home, mountPath: /var/lib/segserve}
- {name: tmp, mountPath: /tmp}
{{- if .Values.weights.enabled }}
- {name: weights, mountPath: /weights, readOnly: true}
{{- end }}
{{- end -}}

{{- define "segserve.volumes" -}}
- {name: home, emptyDir: {sizeLimit: 10Gi}}
- {name: tmp, emptyDir: {sizeLimit: 10Gi}}
{{- if .Values.weights.enabled }}
- name: weights
  persistentVolumeClaim: {claimName: {{ include "segserve.weightsClaim" . }}, readOnly: true}
{{- end }}
{{- end -}}

{{/* (dict "root" $ "from" head or group) */}}
{{- define "segserve.placement" -}}
{{- with .from.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .from.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .from.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .from.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* Metadata of a Ray pod: (dict "root" $ "component" "worker") */}}
{{- define "segserve.podMetadata" -}}
labels:
  {{- with .root.Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- include "segserve.componentSelector" . | nindent 2 }}
{{- if or .root.Values.podAnnotations .root.Values.auth.keys }}
annotations:
  {{- with .root.Values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with .root.Values.auth.keys }}
  # Other keys, another Ray cluster: what is in a secret is read at the start of a process.
  segserve/api-keys: {{ toJson . | sha256sum | trunc 16 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* A small pod that is not Ray's: no token of the API server. */}}
{{- define "segserve.plainPod" -}}
serviceAccountName: {{ include "segserve.serviceAccount" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- include "segserve.pullSecrets" . }}
{{- end -}}
