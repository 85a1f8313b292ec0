{{/* The pod of a group of workers. Its probes are KubeRay's own: bash and wget against the raylet and Serve's proxy. */}}
{{/* (dict "root" $ "group" group) */}}
{{- define "segserve.workerSpec" -}}
{{- $root := .root -}}
{{- $image := include "segserve.image" (dict "root" .root "tag" .group.imageTag) -}}
{{ include "segserve.plainPod" $root }}
terminationGracePeriodSeconds: {{ $root.Values.terminationGracePeriodSeconds }}
{{- include "segserve.placement" (dict "root" $root "from" .group) }}
{{- with .group.topologySpread }}
topologySpreadConstraints:
  {{- range . }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "segserve.componentSelector" (dict "root" $root "component" "worker") | nindent 8 }}
  {{- end }}
{{- end }}
securityContext:
  {{- toYaml $root.Values.podSecurityContext | nindent 2 }}
{{- $fills := and $root.Values.weights.enabled $root.Values.weights.fill.enabled }}
{{- $haproxy := eq $root.Values.transport "haproxy" }}
{{- if or $fills $haproxy }}
initContainers:
  {{- if $haproxy }}
  {{- include "segserve.haproxyInit" (dict "root" $root "image" $image) | nindent 2 }}
  {{- end }}
  {{- if $fills }}
  - name: weights
    image: {{ $image }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    securityContext:
      {{- toYaml $root.Values.containerSecurityContext | nindent 6 }}
    command: [bash, -c, "until [ -e /weights/.filled-{{ include "segserve.fillMark" $root }} ]; do echo waiting for the weights; sleep 5; done"]
    resources:
      requests: {cpu: 10m, memory: 32Mi}
      limits: {memory: 32Mi}
    volumeMounts:
      - {name: weights, mountPath: /weights, readOnly: true}
  {{- end }}
{{- end }}
containers:
  - name: ray-worker
    image: {{ $image }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    securityContext:
      {{- toYaml $root.Values.containerSecurityContext | nindent 6 }}
    ports:
      - {name: serve, containerPort: 8000}
      - {name: metrics, containerPort: 8080}
    env:
      {{- include "segserve.env" $root | nindent 6 }}
    resources:
      {{- $resources := deepCopy .group.resources }}
      {{- if .group.gpus }}
      {{- $limits := mergeOverwrite (default dict $resources.limits) (dict .group.gpuResource (.group.gpus | int)) }}
      {{- $_ := set $resources "limits" $limits }}
      {{- end }}
      {{- toYaml $resources | nindent 6 }}
    volumeMounts:
      {{- include "segserve.mounts" $root | nindent 6 }}
volumes:
  {{- include "segserve.volumes" $root | nindent 2 }}
{{- end -}}
