{{- define "cybervault.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "cybervault.fullname" -}}
{{- $name := include "cybervault.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "cybervault.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "cybervault.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "cybervault.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What a workload is found by; never changes. (root, component) */}}
{{- define "cybervault.selector" -}}
app.kubernetes.io/name: {{ include "cybervault.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- define "cybervault.labels" -}}
{{ include "cybervault.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: cybervault
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* CyberVault's configuration: what the chart knows, and over it what the user says in `config`. */}}
{{- define "cybervault.config" -}}
{{- $kafka := .Values.kafka -}}
{{- $client := dict -}}
{{- $sasl := ne $kafka.sasl.mechanism "" -}}
{{- if or $sasl $kafka.tls.enabled -}}
{{- $_ := set $client "security.protocol" (printf "%s%s" (ternary "SASL_" "" $sasl) (ternary "SSL" "PLAINTEXT" $kafka.tls.enabled)) -}}
{{- end -}}
{{- if $sasl -}}
{{- $_ := set $client "sasl.mechanism" $kafka.sasl.mechanism -}}
{{- $_ := set $client "sasl.username" $kafka.sasl.username -}}
{{- $_ := set $client "sasl.password_file" (printf "/etc/cybervault/sasl/%s" $kafka.sasl.passwordKey) -}}
{{- end -}}
{{- if and $kafka.tls.enabled $kafka.tls.caSecret -}}
{{- $_ := set $client "ssl.ca.location" (printf "/etc/cybervault/ca/%s" $kafka.tls.caKey) -}}
{{- end -}}
{{- if and $kafka.tls.enabled $kafka.tls.clientSecret -}}
{{- $_ := set $client "ssl.certificate.location" (printf "/etc/cybervault/client/%s" $kafka.tls.certKey) -}}
{{- $_ := set $client "ssl.key.location" (printf "/etc/cybervault/client/%s" $kafka.tls.keyKey) -}}
{{- end -}}
{{- $bootstrap := required "kafka.bootstrap: name your brokers, broker-1:9092,broker-2:9092" $kafka.bootstrap -}}
{{- $config := dict
  "kafka" (dict "bootstrap" $bootstrap "topic_prefix" $kafka.topicPrefix "client" (merge (deepCopy $kafka.client) $client))
  "topics" (dict "partitions" .Values.topics.partitions "replication" .Values.topics.replication)
  "worker" (dict "shutdown_ms" (mul .Values.shutdownSeconds 1000) "static_membership" false)
  "log" (dict "format" "json")
  "metrics" (dict "listen" "0.0.0.0:9464")
  "tenants_file" "/etc/cybervault/tenants/tenants.yaml" -}}
{{- with .Values.schemaRegistry -}}
{{- if .url -}}
{{- $registry := dict "url" .url -}}
{{- if .username -}}
{{- $_ := set $registry "username" .username -}}
{{- $_ := set $registry "password_file" (printf "/etc/cybervault/registry/%s" .passwordKey) -}}
{{- end -}}
{{- $_ := set $config.kafka "schema_registry" $registry -}}
{{- end -}}
{{- end -}}
{{- with .Values.gateway -}}
{{- if .enabled -}}
{{- $gateway := dict "listen" (printf "0.0.0.0:%d" (int .port)) -}}
{{- if .publicUrl -}}
{{- $_ := set $gateway "public_url" .publicUrl -}}
{{- end -}}
{{- if .store.postgresSecret -}}
{{- $_ := set $gateway "store" (dict "postgres_file" (printf "/etc/cybervault/store/%s" .store.postgresKey)) -}}
{{- else -}}
{{- $_ := set $gateway "store" (dict "file" "/var/lib/cybervault/cybervault.db") -}}
{{- end -}}
{{- $_ := set $config "gateway" $gateway -}}
{{- end -}}
{{- end -}}
{{- range $what := list "rules" "playbooks" -}}
{{- if include "cybervault.contentVolume" (dict "root" $ "what" $what) -}}
{{- $_ := set $config (printf "%s_dir" $what) (printf "/etc/cybervault/%s" $what) -}}
{{- end -}}
{{- end -}}
{{- toYaml (mergeOverwrite $config (deepCopy .Values.config)) -}}
{{- end -}}

{{/* Where tenants, rules or playbooks come from, as a volume source; empty is the product's own. (root, what) */}}
{{- define "cybervault.contentVolume" -}}
{{- $content := index .root.Values.content .what -}}
{{- if $content.volume -}}
{{- toYaml $content.volume -}}
{{- else if $content.existingConfigMap -}}
configMap: {name: {{ $content.existingConfigMap }}}
{{- else if $content.files -}}
configMap: {name: {{ include "cybervault.fullname" .root }}-{{ .what }}}
{{- else if eq .what "tenants" -}}
{{- fail "content.tenants: say whose events are taken, in `files`, an existing ConfigMap or a volume" -}}
{{- end -}}
{{- end -}}

{{/* Volumes with what reaches Kafka and the registry. */}}
{{- define "cybervault.secretVolumes" -}}
{{- $kafka := .Values.kafka -}}
{{- if $kafka.sasl.mechanism }}
- name: sasl
  secret:
    secretName: {{ required "kafka.sasl.existingSecret: the Secret that has the password" $kafka.sasl.existingSecret }}
    defaultMode: 0440
    items: [{key: {{ $kafka.sasl.passwordKey }}, path: {{ $kafka.sasl.passwordKey }}}]
{{- end }}
{{- if and $kafka.tls.enabled $kafka.tls.caSecret }}
- name: ca
  secret:
    secretName: {{ $kafka.tls.caSecret }}
    defaultMode: 0440
    items: [{key: {{ $kafka.tls.caKey }}, path: {{ $kafka.tls.caKey }}}]
{{- end }}
{{- if and $kafka.tls.enabled $kafka.tls.clientSecret }}
- name: client
  secret:
    secretName: {{ $kafka.tls.clientSecret }}
    defaultMode: 0440
{{- end }}
{{- with .Values.schemaRegistry }}
{{- if and .url .username }}
- name: registry
  secret:
    secretName: {{ required "schemaRegistry.existingSecret: the Secret that has the password" .existingSecret }}
    defaultMode: 0440
    items: [{key: {{ .passwordKey }}, path: {{ .passwordKey }}}]
{{- end }}
{{- end }}
{{- end -}}

{{- define "cybervault.secretMounts" -}}
{{- range list "sasl" "ca" "client" "registry" }}
{{- if contains (printf "- name: %s\n" .) (include "cybervault.secretVolumes" $) }}
- {name: {{ . }}, mountPath: /etc/cybervault/{{ . }}, readOnly: true}
{{- end }}
{{- end }}
{{- end -}}

{{- define "cybervault.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "cybervault.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* A long-running pod. (root, component, args, settings, probe, ports, preStop, store) */}}
{{- define "cybervault.pod" -}}
{{- $root := .root -}}
{{- $fullname := include "cybervault.fullname" $root -}}
metadata:
  labels:
    {{- include "cybervault.labels" (dict "root" $root "component" .component) | nindent 4 }}
    {{- with $root.Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ include "cybervault.config" $root | sha256sum }}
    {{- if $root.Values.content.rollOut }}
    checksum/content: {{ toJson $root.Values.content | sha256sum }}
    {{- end }}
    {{- with .settings.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "cybervault.serviceAccount" $root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $root.Values.terminationGracePeriodSeconds }}
  securityContext:
    {{- include "cybervault.podSecurity" $root | nindent 4 }}
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .settings.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .settings.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .settings.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if $root.Values.topologySpread.enabled }}
  topologySpreadConstraints:
    {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: {{ $root.Values.topologySpread.whenUnsatisfiable }}
      labelSelector:
        matchLabels:
          {{- include "cybervault.selector" (dict "root" $root "component" $.component) | nindent 10 }}
    {{- end }}
  {{- end }}
  containers:
    - name: cybervault
      image: {{ include "cybervault.image" $root }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: {{ toJson .args }}
      env:
        - {name: CYBERVAULT_CONFIG, value: /etc/cybervault/config/cybervault.yaml}
        # Unique among live workers, and the same when the container is restarted in its pod.
        - name: CYBERVAULT_WORKER__INSTANCE
          valueFrom: {fieldRef: {fieldPath: metadata.name}}
        {{- with .settings.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        {{- range $name, $port := .ports }}
        - {name: {{ $name }}, containerPort: {{ $port }}}
        {{- end }}
      startupProbe:
        httpGet: {path: /livez, port: {{ .probe }}}
        periodSeconds: 1
        failureThreshold: 60
      livenessProbe:
        httpGet: {path: /livez, port: {{ .probe }}}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /readyz, port: {{ .probe }}}
        periodSeconds: 5
        timeoutSeconds: 5
      {{- with .preStop }}
      lifecycle:
        preStop: {sleep: {seconds: {{ . }}}}
      {{- end }}
      {{- with .settings.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- include "cybervault.containerSecurity" $root | nindent 8 }}
      volumeMounts:
        - {name: config, mountPath: /etc/cybervault/config, readOnly: true}
        {{- range list "tenants" "rules" "playbooks" }}
        {{- if include "cybervault.contentVolume" (dict "root" $root "what" .) }}
        - {name: {{ . }}, mountPath: /etc/cybervault/{{ . }}, readOnly: true}
        {{- end }}
        {{- end }}
        {{- with include "cybervault.secretMounts" $root | trim }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with .store }}
        {{- if .postgresSecret }}
        - {name: store, mountPath: /etc/cybervault/store, readOnly: true}
        {{- else }}
        - {name: store, mountPath: /var/lib/cybervault}
        {{- end }}
        {{- end }}
  volumes:
    - name: config
      configMap: {name: {{ $fullname }}-config}
    {{- range $what := list "tenants" "rules" "playbooks" }}
    {{- with include "cybervault.contentVolume" (dict "root" $root "what" $what) }}
    - name: {{ $what }}
      {{- . | nindent 6 }}
    {{- end }}
    {{- end }}
    {{- with include "cybervault.secretVolumes" $root | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with .store }}
    - name: store
      {{- if .postgresSecret }}
      secret:
        secretName: {{ .postgresSecret }}
        defaultMode: 0440
        items: [{key: {{ .postgresKey }}, path: {{ .postgresKey }}}]
      {{- else if .claim }}
      persistentVolumeClaim: {claimName: {{ .claim }}}
      {{- else }}
      emptyDir: {sizeLimit: 1Gi}
      {{- end }}
    {{- end }}
{{- end -}}
