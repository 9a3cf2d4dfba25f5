{{/* What the operator may do, cluster-wide or in each of its namespaces, and nothing more. */}}
{{- define "operator.rules" -}}
# No Secret, no wildcard, no update, no deletecollection, no exec, no namespaces, no CRDs.
rules:
  # releases: it reads the spec and writes the status
  - apiGroups: [tradingplatform.io]
    resources: [tradingreleases]
    verbs: [get, list, watch]
  - apiGroups: [tradingplatform.io]
    resources: [tradingreleases/status]
    verbs: [patch]
  # orders: it answers them, and deletes them 90 days after the answer
  - apiGroups: [tradingplatform.io]
    resources: [releasecommands]
    verbs: [get, list, watch, delete]
  - apiGroups: [tradingplatform.io]
    resources: [releasecommands/status]
    verbs: [patch]
  # freezes: it reads them, and says in their status whether they hold. The ConfigMap of a market calendar is read by a Role of
  # its own, which `tradingrelease calendar export` writes: each gives `get` on one name
  - apiGroups: [tradingplatform.io]
    resources: [releasefreezes]
    verbs: [list, watch]
  - apiGroups: [tradingplatform.io]
    resources: [releasefreezes/status]
    verbs: [patch]
  # one Deployment per component revision, and one stored spec per revision
  - apiGroups: [apps]
    resources: [deployments]
    verbs: [get, list, watch, create, patch, delete]
  - apiGroups: [apps]
    resources: [controllerrevisions]
    verbs: [get, list, watch, create, delete]
  - apiGroups: [apps]
    resources: [replicasets]
    verbs: [list, watch]
  # Jobs of hooks: made suspended, started by a patch once that is remembered, deleted when nothing refers to them
  - apiGroups: [batch]
    resources: [jobs]
    verbs: [get, list, watch, create, patch, delete]
  # Services: patch is the switch; create and delete are for the previews
  - apiGroups: [""]
    resources: [services]
    verbs: [get, list, watch, create, patch, delete]
  # what really serves
  - apiGroups: [""]
    resources: [pods]
    verbs: [list, watch]
  # logs of the pods that a check of logs judges
  - apiGroups: [""]
    resources: [pods/log]
    verbs: [get]
  - apiGroups: [discovery.k8s.io]
    resources: [endpointslices]
    verbs: [list, watch]
  - apiGroups: [""]
    resources: [events]
    verbs: [create]
{{- end -}}
