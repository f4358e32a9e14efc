package tracing

import (
	"slices"
	"strings"
)

// Config is what the standard environment variables say about traces.
type Config struct {
	// Export says whether spans are made and sent at all.
	Export bool

	// Propagate says whether the traceparent of a request becomes its span's
	// parent.
	Propagate bool

	// Ignored are the variables with a value that isn't supported, for the log.
	Ignored []string
}

// Read reads the variables that the libraries of OpenTelemetry leave to the
// program. Spans are sent when OTEL_TRACES_EXPORTER is otlp, or when it isn't
// set and an OTLP endpoint is. The libraries read the rest themselves: where
// and how to send spans, what to sample, and the name of the service.
func Read(variable func(name string) string) Config {
	endpoint := variable("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
	c := Config{Export: endpoint}
	if exporters := words(variable("OTEL_TRACES_EXPORTER")); len(exporters) > 0 {
		c.Export = slices.Contains(exporters, "otlp")
		c.ignore("OTEL_TRACES_EXPORTER", exporters, "otlp", "none")
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"} {
		c.ignore(name, words(variable(name)), "http/protobuf")
	}
	propagators := words(variable("OTEL_PROPAGATORS"))
	c.Propagate = len(propagators) == 0 || slices.Contains(propagators, "tracecontext")
	if strings.EqualFold(strings.TrimSpace(variable("OTEL_SDK_DISABLED")), "true") {
		c.Export, c.Ignored = false, nil
	}
	return c
}

// ignore notes the variable if one of its values isn't supported.
func (c *Config) ignore(name string, values []string, offered ...string) {
	if slices.ContainsFunc(values, func(v string) bool { return !slices.Contains(offered, v) }) {
		c.Ignored = append(c.Ignored, name)
	}
}

func words(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}
