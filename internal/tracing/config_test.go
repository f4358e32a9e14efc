package tracing_test

import (
	"slices"
	"testing"

	"github.com/grantd/grantd/internal/tracing"
)

// The variables mean what the specification of OpenTelemetry says, as far as
// they are supported.
func TestTheEnvironmentTurnsTracesOn(t *testing.T) {
	const endpoint, tracesEndpoint, exporter = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER"
	for _, c := range []struct {
		name      string
		variables map[string]string
		export    bool
		apart     bool // traceparent isn't read
		ignored   []string
	}{
		{name: "nothing"},
		{name: "an endpoint", variables: map[string]string{endpoint: "http://c:4318"}, export: true},
		{name: "an endpoint for traces", variables: map[string]string{tracesEndpoint: "http://c:4318/v1/traces"}, export: true},
		{name: "an exporter, at the usual address", variables: map[string]string{exporter: "otlp"}, export: true},
		{name: "no exporter", variables: map[string]string{endpoint: "http://c:4318", exporter: "none"}},
		{name: "one that isn't offered", variables: map[string]string{endpoint: "http://c:4318", exporter: "zipkin"}, ignored: []string{exporter}},
		{name: "one of two", variables: map[string]string{exporter: "console, otlp"}, export: true, ignored: []string{exporter}},
		{name: "off", variables: map[string]string{endpoint: "http://c:4318", exporter: "zipkin", "OTEL_SDK_DISABLED": "True"}},
		{name: "not off", variables: map[string]string{endpoint: "http://c:4318", "OTEL_SDK_DISABLED": "1"}, export: true},
		{name: "grpc", variables: map[string]string{endpoint: "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, export: true, ignored: []string{"OTEL_EXPORTER_OTLP_PROTOCOL"}},
		{name: "the protocol that there is", variables: map[string]string{endpoint: "http://c:4318", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}, export: true},
		{name: "propagators with it", variables: map[string]string{endpoint: "http://c:4318", "OTEL_PROPAGATORS": "b3,tracecontext"}, export: true},
		{name: "propagators without it", variables: map[string]string{endpoint: "http://c:4318", "OTEL_PROPAGATORS": "none"}, export: true, apart: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := tracing.Read(func(name string) string { return c.variables[name] })
			if got.Export != c.export || got.Propagate == c.apart || !slices.Equal(got.Ignored, c.ignored) {
				t.Errorf("read %+v", got)
			}
		})
	}
}
