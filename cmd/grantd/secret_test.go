package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestSecretIsNeverPrinted(t *testing.T) {
	const text = "correct-horse-battery-staple"
	s := newSecret(text)
	outer := struct {
		Public  Secret
		private Secret
		Pointer *Secret
	}{s, s, &s}

	asJSON, err := json.Marshal(outer)
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal(map[string]any{"secret": s, "in": &config{Secret: s}})
	if err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	for _, h := range []slog.Handler{slog.NewJSONHandler(&logged, nil), slog.NewTextHandler(&logged, nil)} {
		slog.New(h).Info("x", "secret", s, "pointer", &s, "outer", outer)
	}
	printed := []string{string(asJSON), string(asYAML), logged.String(), fmt.Sprint(s), fmt.Sprint(&s)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
		printed = append(printed, fmt.Sprintf(verb, s), fmt.Sprintf(verb, outer), fmt.Sprintf(verb, &outer))
	}
	for _, p := range printed {
		if strings.Contains(p, text) || strings.Contains(p, fmt.Sprintf("%x", text)) {
			t.Errorf("the secret was printed: %s", p)
		}
	}
	for _, p := range printed[:5] {
		if !strings.Contains(p, "[redacted]") {
			t.Errorf("no [redacted] in %s", p)
		}
	}
	if s.Reveal() != text {
		t.Errorf("Reveal() = %q", s.Reveal())
	}
	if empty := newSecret(""); !empty.IsZero() || empty.String() != "" || empty.Reveal() != "" {
		t.Error("an empty secret must print and reveal nothing")
	}
}
