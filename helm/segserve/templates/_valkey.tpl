{{/* A Valkey in a container: configuration from a ConfigMap, the password from its secret, neither in its arguments. */}}
{{/* (dict "root" $ "secret" NAME "resources" ... "data" VOLUME) */}}
{{- define "segserve.valkeyContainer" -}}
name: valkey
image: {{ .root.Values.valkey.image.repository }}:{{ .root.Values.valkey.image.tag }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  {{- toYaml .root.Values.containerSecurityContext | nindent 2 }}
command: [sh, -euc]
args:
  - |
    umask 077
    { cat /etc/valkey/valkey.conf; printf 'requirepass "%s"\n' "$REDISCLI_AUTH"; } > /run/valkey/valkey.conf
    exec valkey-server /run/valkey/valkey.conf
env:
  # valkey-cli reads it, too.
  - name: REDISCLI_AUTH
    valueFrom:
      secretKeyRef: {name: {{ .secret }}, key: password}
ports:
  - {name: redis, containerPort: 6379}
startupProbe:
  exec:
    command: [sh, -c, "valkey-cli ping | grep -q PONG"]
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 60
readinessProbe:
  exec:
    command: [sh, -c, "valkey-cli ping | grep -q PONG"]
  periodSeconds: 10
  timeoutSeconds: 5
livenessProbe:
  exec:
    command: [sh, -c, "valkey-cli ping | grep -q -e PONG -e LOADING"]
  periodSeconds: 20
  timeoutSeconds: 10
  failureThreshold: 6
resources:
  {{- toYaml .resources | nindent 2 }}
volumeMounts:
  - {name: conf, mountPath: /etc/valkey, readOnly: true}
  - {name: run, mountPath: /run/valkey}
  {{- with .data }}
  - {name: {{ . }}, mountPath: /data}
  {{- end }}
{{- end -}}

{{/* uid 999 is the image's own user. */}}
{{- define "segserve.valkeySecurity" -}}
{{ toYaml (mergeOverwrite (deepCopy .Values.podSecurityContext) (dict "runAsUser" 999 "runAsGroup" 999 "fsGroup" 999)) }}
{{- end -}}
