{{/* What a user may say of where a pod runs: nothing, unless it is said. Takes the part's values and the whole context. */}}
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

{{/* A container's image and resources. Takes the part's values. */}}
{{- define "portreeve.container" -}}
image: "{{ .image.repository }}:{{ .image.tag }}"
{{- with .image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
{{- with .resources }}
resources: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
