# Targets of the development cluster; the root Makefile includes this file. NODES, K8S, NAME and CLUSTER are passed on.

NODES ?=
K8S ?=
NAME ?= dev
CLUSTER ?= kind
export NODES K8S NAME CLUSTER

.PHONY: cluster-up cluster-down cluster-status control-plane-up control-plane-down

cluster-up:          ## start a cluster (NODES=1 K8S=1.37.2 NAME=dev), or check the one that runs
	devcluster/up

cluster-down:        ## end the cluster NAME and remove what it left
	devcluster/down

cluster-status:      ## show the nodes of the cluster NAME
	devcluster/status

control-plane-up:    ## start etcd, kube-apiserver and kube-controller-manager only, in 3 s
	devcluster/control-plane up

control-plane-down:  ## end the control plane NAME
	devcluster/control-plane down
