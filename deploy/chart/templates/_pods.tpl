{{/* Scheduling fields of a pod, only those that have values. Arguments: the component's values and the root context. */}}
{{- define "portreeve.scheduling" -}}
{{- with index . 0 }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 0 }}
{{- end }}
{{- end }}
{{- with (index . 1).Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 0 }}
{{- end }}
{{- end }}

{{/* A container's image and resources. Argument: the component's values. */}}
{{- define "portreeve.container" -}}
image: "{{ .image.repository }}:{{ .image.tag }}"
{{- with .image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
{{- with .resources }}
resources: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
