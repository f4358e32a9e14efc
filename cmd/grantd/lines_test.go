package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// anyAttr draws attributes that occur, and some that don't.
var anyAttr = rapid.Custom(func(t *rapid.T) slog.Attr {
	key := rapid.OneOf(rapid.StringMatching(`[a-z_]{1,12}`), rapid.String()).Draw(t, "key")
	return slog.Attr{Key: key, Value: rapid.OneOf(
		rapid.Map(rapid.StringMatching(`[ -~]{0,30}`), slog.StringValue),
		rapid.Map(rapid.String(), slog.StringValue),
		rapid.Map(rapid.Int64(), slog.Int64Value),
		rapid.Map(rapid.Int64Range(0, 1e9), func(us int64) slog.Value { return slog.Float64Value(float64(us) / 1000) }),
		rapid.Map(rapid.Float64(), slog.Float64Value),
		rapid.Just(slog.Float64Value(math.Copysign(0, -1))),
		rapid.Map(rapid.Bool(), slog.BoolValue),
		rapid.Map(rapid.SliceOf(rapid.String()), func(s []string) slog.Value { return slog.AnyValue(s) }),
	).Draw(t, "value")}
})

func TestLinesAreWhatPackageSlogWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := rapid.SampledFrom([]time.Time{{}, time.Now(), time.Unix(1795000000, 0), time.UnixMilli(1795000000120).UTC(), time.Unix(1, 999_999_999)}).Draw(t, "time")
		level := rapid.SampledFrom([]slog.Level{slog.LevelInfo, slog.LevelWarn, slog.LevelError, slog.LevelError + 1}).Draw(t, "level")
		message := rapid.SampledFrom([]string{"request", "audit", "waiting for the store", ""}).Draw(t, "message")
		attrs := rapid.SliceOfN(anyAttr, 0, 16).Draw(t, "attrs")
		r := newRecord(at, level, message, attrs)
		for _, format := range []string{"text", "json"} {
			var got, want bytes.Buffer
			std := map[string]slog.Handler{"text": slog.NewTextHandler(&want, nil), "json": slog.NewJSONHandler(&want, nil)}
			errWant := std[format].Handle(t.Context(), r)
			err := newLogger(&got, logConfig{"info", format}).Handler().Handle(t.Context(), r)
			if got.String() != want.String() || (err == nil) != (errWant == nil) {
				t.Fatalf("%v, %q; package slog: %v, %q", err, got.String(), errWant, want.String())
			}
			got.Reset()
			logAttrs(t.Context(), newLogger(&got, logConfig{"info", format}).Handler(), at, level, message, attrs)
			if got.String() != want.String() {
				t.Fatalf("without a record: %q; package slog: %q", got.String(), want.String())
			}
		}
	})
}

// Attributes and groups of a derived logger are in every line.
func TestLinesOfADerivedLogger(t *testing.T) {
	var got bytes.Buffer
	newLogger(&got, logConfig{"info", "json"}).With("a", 1).WithGroup("g").Info("m", "b", 2)
	if want := `"msg":"m","a":1,"g":{"b":2}}` + "\n"; !bytes.HasSuffix(got.Bytes(), []byte(want)) {
		t.Errorf("%q, want it to end with %q", got.String(), want)
	}
}

func BenchmarkLine(b *testing.B) {
	for _, format := range []string{"text", "json"} {
		b.Run(format, func(b *testing.B) {
			h := newLogger(io.Discard, logConfig{"info", format}).Handler()
			b.ReportAllocs()
			for b.Loop() {
				logAttrs(context.Background(), h, time.Now(), slog.LevelInfo, "request", []slog.Attr{
					slog.String("request_id", "3q2-7w"), slog.String("method", "GET"), slog.String("route", "/users/me"),
					slog.Int("status", 200), slog.Float64("duration_ms", 0.123), slog.Int64("bytes", 161), slog.String("remote", "127.0.0.1"),
				})
			}
		})
	}
}
