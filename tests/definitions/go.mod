// The projects whose kinds deploy/components declares objects of: their definitions are read from these sources.
module portreeve.dev/definitions

go 1.26.0

require (
	github.com/cert-manager/cert-manager v1.19.1
	github.com/prometheus-operator/prometheus-operator v0.85.0
)
