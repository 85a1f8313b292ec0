{{/* What every Ray pod has. The names of variables that are Ray's are those of deploy/cluster.py. */}}

{{- define "segserve.env" -}}
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
